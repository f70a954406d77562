import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { toHex } from '../../protocol/base/bytes.ts'
import { outcomes } from '../../protocol/call.ts'
import { usdc } from '../../protocol/usdc.ts'
import { addressOf } from '../../test/support/money.ts'
import { decodeGroup, encodeGroup } from './group-wire.ts'
import type { ChargeRecord } from './records.ts'

const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex)
const address = fc.nat().map(addressOf)
const amount = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(usdc)
const count = fc.nat()
const receipt = fc.record({
  ...{ callId: hex, programId: hex, deployment: hex, payer: address, provider: address },
  ...{ requestDigest: hex, responseDigest: hex, status: count, priceUsdc: amount },
  ...{ startedAt: fc.maxSafeNat(), durationMs: count },
  outcome: fc.constantFrom(...(Object.keys(outcomes) as (keyof typeof outcomes)[])),
})
const answer = fc.record({
  status: count,
  rawHeaders: fc.array(fc.string()),
  body: fc.uint8Array(),
})
const record: fc.Arbitrary<ChargeRecord> = fc.record(
  {
    ...{ receiptId: fc.maxSafeNat(), receipt, chargedUsdc: amount, calls: count },
    pass: fc.option(fc.record({ payer: address, id: hex, chargedUsdc: amount, validBefore: count }), {
      nil: undefined,
    }),
    ownerUsage: fc.option(
      fc.record({ spec: hex, day: count, chargedUsdc: amount, minute: count, calls: count }),
      { nil: undefined },
    ),
    key: fc.option(
      fc.record({
        ...{ key: fc.string(), requestDigest: hex, storedAtMs: fc.maxSafeNat() },
        answer: fc.option(answer, { nil: undefined }),
      }),
      { nil: undefined },
    ),
    lane: fc.record({ payer: address, signer: address, epoch: count }),
    payment: fc.record({
      id: fc.record({ payer: address, nonce: hex }),
      ending: fc.option(
        fc.oneof(
          fc.record({ state: fc.constant('mined' as const), transaction: hex, blockNumber: amount }),
          fc.record({ state: fc.constant('released' as const), reason: fc.string() }),
        ),
        { nil: undefined },
      ),
    }),
  },
  {
    requiredKeys: ['receiptId', 'receipt', 'chargedUsdc', 'calls', 'pass', 'ownerUsage', 'key'],
  },
)

test('a group arrives in the other thread as it was, in its order', () => {
  const { port1, port2 } = new MessageChannel()
  fc.assert(
    fc.property(fc.array(record, { maxLength: 5 }), (group) => {
      port1.postMessage(encodeGroup(group))
      expect(decodeGroup(receiveMessageOnPort(port2)?.message)).toEqual(group)
    }),
  )
  port1.close()
})
