import { zeroAddress } from 'viem'
import { escrowCalls } from '../../protocol/chain/calls.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { formatUsdc, parseUsdc, subtractUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import { defineCommand, usageError } from '../command.ts'
import { parseDuration } from '../duration.ts'
import { formatGrant, formatTime, readBalances, readMeteredGrant } from '../market/escrow.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions, writeOptions } from '../market/options.ts'
import { resolveProvider } from '../market/resolve-provider.ts'
import { carryOut } from '../market/write.ts'

const defaultExpirySeconds = 30 * 86_400
const defaultNoticeHours = 48

export const approve = defineCommand({
  usage: 'approve <provider>',
  details:
    'Reserves a budget of your free balance for one provider, which may charge up to the price per call: for\n' +
    'deployments that you own and for passes that you sign. A grant that is open can only be improved; --budget is\n' +
    'what is left for the provider afterwards.',
  options: {
    price: { type: 'string', value: '<usdc>', help: 'The most that one call may cost' },
    budget: { type: 'string', value: '<usdc>', help: 'What is left for the provider afterwards' },
    expiry: { type: 'string', value: '<time>', help: 'For how long calls may be charged (default 30d)' },
    notice: {
      type: 'string',
      value: '<time>',
      help: 'How long the provider may settle after it (default 48h)',
    },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
    ...writeOptions,
  },
  examples: [
    'approve alice --price 0.001 --budget 1',
    'approve bob --price 0.0005 --budget 0.5 --expiry 7d --notice 24h',
  ],
  async run({ positionals: [name = ''], values }, context) {
    const price = parseUsdc(required('price', values.price))
    const budget = parseUsdc(required('budget', values.budget))
    const wanted = { expiry: values.expiry, notice: values.notice }
    const parsed = parseTerms(wanted)
    const writer = await openWriter(values, context)
    const resolving = { ...writer, acceptIdentity: values['accept-identity'] ?? false }
    const provider = await resolveProvider(name, resolving, context)
    const parties = { payer: writer.account.address, provider: provider.address }
    const open = await readMeteredGrant(writer, parties, context.signal)
    const terms = chooseTerms(parsed, { open, nowSeconds: Math.floor(context.clock.nowMs() / 1000) })
    await assertFree(budget, {
      open,
      escrowUsdc: (await readBalances(writer, parties.payer, context.signal)).escrowUsdc,
    })
    const plan = {
      title: `Reserve ${formatUsdc(budget)} USDC for ${provider.name}`,
      lines: [
        ['provider', provider.address],
        ['price cap', `${formatUsdc(price)} USDC per call`],
        [
          'budget',
          `${formatUsdc(budget)} USDC${open ? `, of which ${formatUsdc(open.budgetUsdc)} are reserved already` : ''}`,
        ],
        ['expires', formatTime(terms.expiry)],
        ['notice', `${terms.noticeHours} h`],
      ],
      facts: { ...parties, name: provider.name, priceUsdc: price, budgetUsdc: budget, ...terms },
      calls: [
        escrowCalls(writer.market.contracts.escrow).approve({
          provider: provider.address,
          signer: zeroAddress,
          priceUsdc: price,
          budgetUsdc: budget,
          ...terms,
        }),
      ],
    } as const
    const transactions = await carryOut(plan, { writer, flags: values }, context)
    if (!transactions) return
    const grant = await readMeteredGrant(writer, parties, context.signal)
    context.print(grant ? formatGrant(grant, provider.name) : '', {
      ...plan.facts,
      transactions,
    })
  },
})

function required(flag: string, value: string | undefined): string {
  if (value !== undefined) return value
  throw usageError(
    `--${flag} <usdc> is missing.`,
    'Usage: khachapuri approve <provider> --price <usdc> --budget <usdc>',
  )
}

interface Terms {
  readonly expirySeconds: number | undefined
  readonly noticeHours: number | undefined
}

function parseTerms({ expiry, notice }: { expiry: string | undefined; notice: string | undefined }): Terms {
  const noticeSeconds = notice === undefined ? undefined : parseDuration('notice', notice)
  if (noticeSeconds !== undefined && (noticeSeconds % 3600 !== 0 || noticeSeconds > 255 * 3600)) {
    throw usageError(`"${notice}" is not a value for --notice.`, 'Use whole hours, from 1h to 255h.')
  }
  return {
    expirySeconds: expiry === undefined ? undefined : parseDuration('expiry', expiry),
    noticeHours: noticeSeconds === undefined ? undefined : noticeSeconds / 3600,
  }
}

/** What was not asked for stays as good as it is, as an open grant cannot be cut. */
function chooseTerms(
  { expirySeconds, noticeHours }: Terms,
  { open, nowSeconds }: { open: Grant | undefined; nowSeconds: number },
): { expiry: number; noticeHours: number } {
  return {
    expiry:
      expirySeconds === undefined
        ? Math.max(open?.expiry ?? 0, nowSeconds + defaultExpirySeconds)
        : nowSeconds + expirySeconds,
    noticeHours: noticeHours ?? Math.max(open?.noticeHours ?? 0, defaultNoticeHours),
  }
}

async function assertFree(
  budget: Usdc,
  { open, escrowUsdc }: { open: Grant | undefined; escrowUsdc: Usdc },
): Promise<void> {
  const needed = subtractUsdc(budget, open?.budgetUsdc ?? zeroUsdc) ?? zeroUsdc
  const lacking = subtractUsdc(needed, escrowUsdc)
  if (lacking === undefined || lacking === 0n) return
  throw new ProtocolError(
    'balance_too_low',
    `The account has ${formatUsdc(escrowUsdc)} USDC free in the escrow and needs ${formatUsdc(needed)}.`,
    { hint: `Deposit the rest: khachapuri deposit ${formatUsdc(lacking)}` },
  )
}
