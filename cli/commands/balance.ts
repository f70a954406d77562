import { formatUnits } from 'viem'
import { formatUsdc } from '../../protocol/usdc.ts'
import { defineCommand } from '../command.ts'
import { readAccountAddress } from '../keys/account.ts'
import { readBalances } from '../market/escrow.ts'
import { openMarket } from '../market/open.ts'
import { accountOptions, marketOptions } from '../market/options.ts'

export const balance = defineCommand({
  usage: 'balance [account]',
  details: 'The account is a name of the keystore or an address; without it, the one that would sign.',
  options: { ...accountOptions, ...marketOptions },
  examples: ['balance', 'balance payer --json', 'balance 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266'],
  async run({ positionals: [named], values }, context) {
    const at = await openMarket(values, context)
    const address = await readAccountAddress(named, values, at.market, context)
    const { walletUsdc, escrowUsdc, gasWei } = await readBalances(at, address, context.signal)
    context.print(
      [
        address,
        `  free in the escrow  ${formatUsdc(escrowUsdc)} USDC`,
        `  in the wallet       ${formatUsdc(walletUsdc)} USDC`,
        `  for gas             ${formatUnits(gasWei, 18)} ETH`,
      ].join('\n'),
      { account: address, balanceUsdc: escrowUsdc, walletUsdc, gasWei },
    )
  },
})
