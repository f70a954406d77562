import { expect, test } from 'vitest'
import type { Receipt } from '../../protocol/receipt.ts'
import { chargedReceiptToJson, laneToJson, statementPaths } from '../../protocol/statement.ts'
import { usdc } from '../../protocol/usdc.ts'
import { claimOf, payer, provider, receiptOf } from '../../test/support/money.ts'
import type { ProviderAccount } from '../market/ask-provider.ts'
import { createReceiptSource } from './receipt-source.ts'

const signer = '0x0000000000000000000000000000000000000000'

/** The pages of a provider that shows these receipts, each at 500 base units, on as many lanes as there are lists. */
function showing(lanes: readonly (readonly Receipt[])[]): ProviderAccount {
  return {
    async read(path, query, schema) {
      const lane = Number(query['lane'])
      const entries =
        path === statementPaths.lanes
          ? lanes.map((receipts, epoch) =>
              laneToJson({
                lane: epoch + 1,
                signer: epoch === 0 ? signer : payer,
                epoch,
                chargedUsdc: usdc(500n * BigInt(receipts.length)),
                calls: receipts.length,
              }),
            )
          : (lanes[lane - 1] ?? []).map((receipt, index) =>
              chargedReceiptToJson({
                id: 100 * lane + index,
                receipt,
                chargedUsdc: usdc(500n * BigInt(index + 1)),
                payment: undefined,
              }),
            )
      return schema.parse(JSON.parse(JSON.stringify({ entries })))
    },
  }
}

async function readAll(account: ProviderAccount): Promise<bigint> {
  let sum = 0n
  for await (const { partUsdc } of createReceiptSource(account, { payer, provider }).takeRest())
    sum += partUsdc
  return sum
}

test('a provider that shows one receipt for two charges is not believed, on whatever lanes', async () => {
  const [first, second] = [receiptOf(claimOf()), receiptOf(claimOf())]
  expect(await readAll(showing([[first], [second]]))).toBe(1_000n)
  const twice = [[[first, second, first]], [[first], [second, first]]]
  for (const lanes of twice) {
    await expect(readAll(showing(lanes))).rejects.toMatchObject({
      code: 'provider_answer_invalid',
      message: expect.stringContaining(first.callId),
    })
  }
})

test('receipts of others are not this account’s', async () => {
  const stranger = receiptOf(claimOf(), { payer: provider })
  await expect(readAll(showing([[stranger]]))).rejects.toMatchObject({ code: 'provider_answer_invalid' })
})
