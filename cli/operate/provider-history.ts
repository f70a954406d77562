import { join } from 'node:path'
import type { Address, Hash } from 'viem'
import { z } from 'zod'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { addressSchema, hexSchema, usdcSchema } from '../../protocol/schema.ts'
import { type ChargedReceipt, statementPageSchemas } from '../../protocol/statement.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import type { ChargeRange, PaidCall, PayerLane } from '../../provider/ledger/history.ts'
import { openHistory } from '../../provider/ledger/open-history.ts'
import { orderProvider } from './order-provider.ts'

/** The ledger of a provider of this machine, whether it runs or not. */
export interface ProviderHistory extends Disposable {
  readonly identity: { readonly provider: Address; readonly chainId: number; readonly escrow: Address }
  readChargesBetween(range: ChargeRange): Promise<readonly ChargedReceipt[]>
  /** @returns the usage root of the settlement that a transaction made, as the ledger has it */
  findUsageRoot(transaction: Hash): Promise<Hash | undefined>
  findPaidCall(transaction: Hash): Promise<PaidCall | undefined>
  /** All lanes of all payers, a page after the lane `after`. */
  readAllLanes(after: number): Promise<readonly PayerLane[]>
  /** All that was ever paid by x402. */
  sumPayments(): Promise<Usdc>
}

const identitySchema = z.object({ provider: addressSchema, chainId: z.number(), escrow: addressSchema })
const batchSchema = z.object({ usageRoot: hexSchema(32) }).nullable()
const paidCallSchema = z
  .object({ callId: hexSchema(32), payer: addressSchema, amountUsdc: usdcSchema })
  .nullable()
const sumSchema = z.object({ amountUsdc: usdcSchema })

/**
 * Reads the ledger in a provider's directory: through the provider where it runs, else the file.
 *
 * @throws ProtocolError `config_invalid` where there is none; `ledger_unavailable`
 */
export async function openProviderHistory(dir: string, signal: AbortSignal): Promise<ProviderHistory> {
  const running = await orderProvider(dir, { order: 'identity' }, signal)
  if (running !== undefined) return overSocket(dir, parse(identitySchema, running), signal)
  const { identity, history, ...rest } = openHistory(join(dir, 'ledger'))
  const { provider, market } = identity
  return {
    identity: { provider, ...market },
    readChargesBetween: async (range) => history.readChargesBetween(range),
    findUsageRoot: async (transaction) => history.findBatch(transaction)?.usageRoot,
    findPaidCall: async (transaction) => history.findPaidCall(transaction),
    readAllLanes: async (after) => history.readAllLanes({ after }),
    sumPayments: async () => history.sumPayments().amountUsdc,
    [Symbol.dispose]: rest[Symbol.dispose],
  }
}

function overSocket(
  dir: string,
  identity: ProviderHistory['identity'],
  signal: AbortSignal,
): ProviderHistory {
  async function read<T extends z.ZodType>(body: object, schema: T): Promise<z.output<T>> {
    const order = { order: 'history', body, bytesMax: limits.statementPageBytesMax } as const
    return parse(schema, await orderProvider(dir, order, signal))
  }
  return {
    identity,
    async readChargesBetween({ fromUsdc, toUsdc, ...range }) {
      const body = { read: 'charges', ...range, fromUsdc: fromUsdc.toString(), toUsdc: toUsdc.toString() }
      return (await read(body, statementPageSchemas.receipts)).entries
    },
    findUsageRoot: async (transaction) =>
      (await read({ read: 'batch', transaction }, batchSchema))?.usageRoot,
    findPaidCall: async (transaction) =>
      (await read({ read: 'paid call', transaction }, paidCallSchema)) ?? undefined,
    readAllLanes: async (after) =>
      (await read({ read: 'lanes', after }, statementPageSchemas.payerLanes)).entries,
    sumPayments: async () => (await read({ read: 'payments' }, sumSchema)).amountUsdc,
    [Symbol.dispose]: () => undefined,
  }
}

function parse<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new ProtocolError('provider_answer_invalid', 'The provider stopped, or does not show its ledger.', {
    hint: 'Use a command line of the same version as the provider, and try again.',
  })
}
