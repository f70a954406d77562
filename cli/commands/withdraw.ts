import { escrowCalls } from '../../protocol/chain/calls.ts'
import { formatUsdc, parseUsdc } from '../../protocol/usdc.ts'
import { defineCommand } from '../command.ts'
import { readBalances } from '../market/escrow.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, writeOptions } from '../market/options.ts'
import { carryOut } from '../market/write.ts'

export const withdraw = defineCommand({
  usage: 'withdraw <usdc|all>',
  details:
    'Only what is free can be withdrawn: what a grant reserves comes back with "revoke", then "reclaim".',
  options: { ...accountOptions, ...marketOptions, ...writeOptions },
  examples: ['withdraw 0.10', 'withdraw all --yes'],
  async run({ positionals: [text = ''], values }, context) {
    const typed = text === 'all' ? undefined : parseUsdc(text)
    const writer = await openWriter(values, context)
    const { address } = writer.account
    const { escrow } = writer.market.contracts
    const { escrowUsdc } = await readBalances(writer, address, context.signal)
    const amount = typed ?? escrowUsdc
    const plan = {
      title: `Withdraw ${formatUsdc(amount)} USDC from the escrow`,
      lines: [
        ['free in the escrow', `${formatUsdc(escrowUsdc)} USDC`],
        ['escrow', escrow],
      ],
      facts: { amountUsdc: amount, account: address, escrow },
      calls: [escrowCalls(escrow).withdraw(amount)],
    } as const
    const transactions = await carryOut(plan, { writer, flags: values }, context)
    if (!transactions) return
    const after = await readBalances(writer, address, context.signal)
    context.print(
      `Withdrew ${formatUsdc(amount)} USDC; ${formatUsdc(after.escrowUsdc)} USDC are left free in the escrow.`,
      { ...plan.facts, balanceUsdc: after.escrowUsdc, transactions },
    )
  },
})
