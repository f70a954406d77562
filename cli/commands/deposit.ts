import { ProtocolError } from '../../protocol/errors.ts'
import { formatUsdc, parseUsdc } from '../../protocol/usdc.ts'
import { defineCommand } from '../command.ts'
import { depositCalls, readBalances } from '../market/escrow.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, writeOptions } from '../market/options.ts'
import { carryOut } from '../market/write.ts'

export const deposit = defineCommand({
  usage: 'deposit <usdc>',
  details:
    'What is deposited is free in the escrow: "approve" reserves it for a provider, "withdraw" takes it back.',
  options: { ...accountOptions, ...marketOptions, ...writeOptions },
  examples: ['deposit 5', 'deposit "0.10 USDC" --account payer --yes'],
  async run({ positionals: [text = ''], values }, context) {
    const amount = parseUsdc(text)
    const writer = await openWriter(values, context)
    const { address } = writer.account
    const { walletUsdc, escrowUsdc } = await readBalances(writer, address, context.signal)
    if (walletUsdc < amount) {
      throw new ProtocolError(
        'balance_too_low',
        `The account ${address} has ${formatUsdc(walletUsdc)} USDC in its wallet and needs ${formatUsdc(amount)}.`,
        { hint: 'Send USDC to it; on a development chain use "khachapuri faucet".' },
      )
    }
    const plan = {
      title: `Deposit ${formatUsdc(amount)} USDC into the escrow`,
      lines: [
        ['wallet', `${formatUsdc(walletUsdc)} USDC`],
        ['free in the escrow', `${formatUsdc(escrowUsdc)} USDC`],
        ['escrow', writer.market.contracts.escrow],
      ],
      facts: { amountUsdc: amount, account: address, escrow: writer.market.contracts.escrow },
      calls: await depositCalls(writer, { account: address, amountUsdc: amount }, context.signal),
    } as const
    const transactions = await carryOut(plan, { writer, flags: values }, context)
    if (!transactions) return
    const after = await readBalances(writer, address, context.signal)
    context.print(
      `Deposited ${formatUsdc(amount)} USDC; ${formatUsdc(after.escrowUsdc)} USDC are free in the escrow.`,
      { ...plan.facts, balanceUsdc: after.escrowUsdc, transactions },
    )
  },
})
