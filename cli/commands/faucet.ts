import { usdcCalls } from '../../protocol/chain/calls.ts'
import { isDevChain } from '../../protocol/dev-chain.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { formatUsdc, parseUsdc } from '../../protocol/usdc.ts'
import { defineCommand } from '../command.ts'
import { readAccountAddress } from '../keys/account.ts'
import { giveEther } from '../market/dev-ether.ts'
import { readBalances } from '../market/escrow.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, writeOptions } from '../market/options.ts'
import { carryOut } from '../market/write.ts'

export const faucet = defineCommand({
  usage: 'faucet [account]',
  details:
    'Makes USDC out of nothing, on development chains only, and ether for gas where the chain allows it.',
  options: {
    usdc: { type: 'string', value: '<usdc>', default: '100', help: 'How much' },
    ...accountOptions,
    ...marketOptions,
    ...writeOptions,
  },
  examples: ['faucet --yes', 'faucet 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 --usdc 5'],
  async run({ positionals: [named], values }, context) {
    const amount = parseUsdc(values.usdc)
    const writer = await openWriter(values, context)
    const { market, account } = writer
    if (!isDevChain(market)) {
      throw new ProtocolError(
        'usage_invalid',
        `Chain ${market.chainId} is no development chain: USDC costs money there.`,
        {
          hint: 'Send USDC and ether to the account from elsewhere.',
        },
      )
    }
    const receiver =
      named === undefined ? account.address : await readAccountAddress(named, values, market, context)
    const plan = {
      title: `Make ${formatUsdc(amount)} USDC for ${receiver}`,
      lines: [['token', market.contracts.usdc]],
      facts: { account: receiver, amountUsdc: amount },
      calls: [usdcCalls(market.contracts.usdc).mint(receiver, amount)],
    } as const
    // Minting costs gas, and a new account has none.
    if (!values['dry-run']) await giveEther(writer, new Set([account.address, receiver]), context.signal)
    const transactions = await carryOut(plan, { writer, flags: values }, context)
    if (!transactions) return
    const { walletUsdc } = await readBalances(writer, receiver, context.signal)
    context.print(`${receiver} has ${formatUsdc(walletUsdc)} USDC in its wallet.`, {
      ...plan.facts,
      walletUsdc,
      transactions,
    })
  },
})
