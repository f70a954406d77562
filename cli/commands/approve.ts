import { escrowCalls } from '../../protocol/chain/calls.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { formatUsdc, parseUsdc, subtractUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import { defineCommand } from '../command.ts'
import { readSigner } from '../keys/account.ts'
import { formatGrant, formatTime, readBalances, readOpenGrant } from '../market/escrow.ts'
import { chooseTerms, findUncut, isAsGood, parseTermFlags } from '../market/grant-terms.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions, signerOptions, writeOptions } from '../market/options.ts'
import { resolveProvider } from '../market/resolve-provider.ts'
import { carryOut } from '../market/write.ts'

export const approve = defineCommand({
  usage: 'approve <provider>',
  details:
    'Reserves a budget of your free balance for one provider, which may charge up to the price per call: for\n' +
    'deployments that you own and for passes that you sign. --budget is what is left for the provider afterwards. A\n' +
    'grant that is open is never cut, only improved: to take from it, "revoke" it. With --signer it is a grant for\n' +
    'vouchers ("call --voucher"): name your own account, or one that may spend this budget and nothing else.',
  options: {
    price: {
      type: 'string',
      isRequired: true,
      value: '<usdc>',
      help: 'The most that one call may cost, or more if that is granted',
    },
    budget: {
      type: 'string',
      isRequired: true,
      value: '<usdc>',
      help: 'What is left for the provider afterwards, at least',
    },
    expiry: { type: 'string', value: '<time>', help: 'For how long calls may be charged (default 30d)' },
    notice: {
      type: 'string',
      value: '<time>',
      help: 'How long the provider may settle after it (default 48h)',
    },
    ...signerOptions,
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
    ...writeOptions,
  },
  examples: [
    'approve alice --price 0.001 --budget 1',
    'approve alice --account payer --signer payer --price 0.001 --budget 1',
    'approve bob --price 0.0005 --budget 0.5 --expiry 7d --notice 72h',
  ],
  async run({ positionals: [name = ''], values }, context) {
    const { clock, note, print, signal } = context
    const wanted = {
      priceUsdc: parseUsdc(values.price),
      budgetUsdc: parseUsdc(values.budget),
      ...parseTermFlags({ expiry: values.expiry, notice: values.notice }),
    }
    const writer = await openWriter(values, context)
    const { account, market } = writer
    const resolving = { ...writer, acceptIdentity: values['accept-identity'] ?? false }
    const provider = await resolveProvider(name, resolving, context)
    const signer = await readSigner(values, market, context)
    const parties = { payer: account.address, provider: provider.address, signer }
    const open = await readOpenGrant(writer, parties, signal)
    const terms = chooseTerms(wanted, { open, nowSeconds: Math.floor(clock.nowMs() / 1000) })
    const facts = { ...parties, name: provider.name, ...terms }
    const uncut = open ? findUncut(wanted, open) : []
    if (uncut.length > 0) note(`The open grant has more ${uncut.join(' and ')} than that, and keeps it.`)
    if (open && isAsGood(open, terms)) {
      print(`${formatGrant(open, provider.name)}\nIt covers that already.`, { ...facts, transactions: [] })
      return
    }
    const { escrowUsdc } = await readBalances(writer, account.address, signal)
    assertFree(terms.budgetUsdc, { open, escrowUsdc })
    const reserved = open ? `, of which ${formatUsdc(open.budgetUsdc)} are reserved already` : ''
    const plan = {
      title: `Reserve ${formatUsdc(terms.budgetUsdc)} USDC for ${provider.name}`,
      lines: [
        ['provider', provider.address],
        ...(values.signer === undefined ? [] : [['vouchers of', signer] as const]),
        ['price cap', `${formatUsdc(terms.priceUsdc)} USDC per call`],
        ['budget', `${formatUsdc(terms.budgetUsdc)} USDC${reserved}`],
        ['expires', formatTime(terms.expiry)],
        ['notice', `${terms.noticeHours} h`],
      ],
      facts,
      calls: [escrowCalls(market.contracts.escrow).approve({ provider: provider.address, signer, ...terms })],
    } as const
    const transactions = await carryOut(plan, { writer, flags: values }, context)
    if (!transactions) return
    const grant = await readOpenGrant(writer, parties, signal)
    print(grant ? formatGrant(grant, provider.name) : '', { ...facts, transactions })
  },
})

function assertFree(budget: Usdc, { open, escrowUsdc }: { open: Grant | undefined; escrowUsdc: Usdc }): void {
  const needed = subtractUsdc(budget, open?.budgetUsdc ?? zeroUsdc) ?? zeroUsdc
  const lacking = subtractUsdc(needed, escrowUsdc)
  if (lacking === undefined || lacking === 0n) return
  throw new ProtocolError(
    'balance_too_low',
    `The account has ${formatUsdc(escrowUsdc)} USDC free in the escrow and needs ${formatUsdc(needed)}.`,
    { hint: `Deposit the rest: khachapuri deposit ${formatUsdc(lacking)}` },
  )
}
