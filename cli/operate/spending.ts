import { parseGwei } from 'viem'
import { parseUsdc } from '../../protocol/usdc.ts'
import type { Spending } from '../../provider/provider.ts'
import { type Options, usageError } from '../command.ts'
import { parseCount, parseDuration } from '../duration.ts'

/** What a provider pays for gas, and when its operator wants to be told. */
export const spendingOptions = {
  'max-gas-price': { type: 'string', value: '<gwei>', help: 'Send nothing while gas costs more' },
  'max-fee-percent': {
    type: 'string',
    value: '<n>',
    help: 'Settle only what its gas takes at most so much of; needs --ether-price',
  },
  'ether-price': { type: 'string', value: '<usdc>', help: 'What an ether is worth, for --max-fee-percent' },
  'alarm-value': { type: 'string', value: '<usdc>', help: 'Warn when so much is not settled yet' },
  'alarm-age': {
    type: 'string',
    value: '<time>',
    default: '1h',
    help: 'Warn when something has not been settled for so long',
  },
} as const satisfies Options

type SpendingFlags = { readonly [name in keyof typeof spendingOptions]?: string | undefined }

/** @throws ProtocolError usage, where a value is none or one of two that belong together is missing */
export function parseSpending(flags: SpendingFlags): Spending {
  const { 'max-gas-price': price, 'max-fee-percent': percent, 'ether-price': ether } = flags
  const { 'alarm-value': alarmValue, 'alarm-age': alarmAge } = flags
  if ((percent === undefined) !== (ether === undefined))
    throw usageError('--max-fee-percent and --ether-price belong together.', 'Give both or neither.')
  return {
    ...(price !== undefined && { gasPriceWeiMax: parseGasPrice(price) }),
    ...(percent !== undefined &&
      ether !== undefined && {
        feeLimit: {
          percentMax: parseCount('max-fee-percent', percent, { min: 1, max: 100 }),
          etherPriceUsdc: parseUsdc(ether),
        },
      }),
    ...(alarmValue !== undefined && { alarmUsdc: parseUsdc(alarmValue) }),
    ...(alarmAge !== undefined && { alarmAgeMs: parseDuration('alarm-age', alarmAge) * 1_000 }),
  }
}

function parseGasPrice(text: string): bigint {
  if (!/^\d{1,6}(\.\d{1,9})?$/.test(text))
    throw usageError(
      `--max-gas-price "${text.slice(0, 40)}" is not a price.`,
      'Write it in gwei, as in 0.05.',
    )
  return parseGwei(text)
}
