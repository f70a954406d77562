import { expect, test } from 'vitest'
import { createChainClient } from '../../protocol/chain/client.ts'
import { statementPaths } from '../../protocol/statement.ts'
import { usdc } from '../../protocol/usdc.ts'
import { addressOf, market, never, payer, provider, randomHex } from '../../test/support/money.ts'
import type { ProviderAccount } from '../market/ask-provider.ts'
import { createAccountBook } from './account-book.ts'
import { createBlockTimes } from './block-times.ts'
import { createDifferences } from './differences.ts'
import { createProviderBooks } from './provider-books.ts'
import { createReceiptSource } from './receipt-source.ts'

test('what a wallet paid to a provider that shows no receipt for it is a difference; what went elsewhere is not', async () => {
  const client = createChainClient({ chainId: market.chainId, rpcUrls: [new URL('http://127.0.0.1:9')] })
  const account: ProviderAccount = {
    read: async (path, _query, schema) => {
      expect(path).toBe(statementPaths.lanes)
      return schema.parse({ entries: [] })
    },
  }
  const source = createReceiptSource(account, { payer, provider })
  const books = createProviderBooks(
    client,
    {
      payer,
      escrow: market.escrow,
      token: addressOf(3),
      providers: new Map([[provider, { name: 'alice', source }]]),
      nameOf: () => 'alice',
      isAsked: () => true,
      onSilent: (_name, error) => {
        throw error
      },
      onUnproven: () => undefined,
    },
    never,
  )
  const differences = createDifferences()
  const times = createBlockTimes(client, never)
  const at = { book: createAccountBook(payer), differences, times, newest: 9n }
  const place = { kind: 'transferred', blockNumber: 7n, logIndex: 0, transaction: randomHex() } as const
  const transfers = [
    { ...place, from: payer, to: provider, amountUsdc: usdc(500n) },
    { ...place, from: payer, to: addressOf(4), amountUsdc: usdc(90n) },
    { ...place, from: addressOf(5), to: provider, amountUsdc: usdc(80n) },
  ]
  const lines = []
  for (const transfer of transfers) for await (const line of books.explain(transfer, at)) lines.push(line)
  for await (const line of books.finish(at)) lines.push(line)
  expect(lines).toEqual([])
  expect(() => differences.assertNone()).toThrow(
    expect.objectContaining({
      details: {
        differencesCount: 1,
        differences: [{ what: 'x402 to alice', statedUsdc: '0', chainUsdc: '500' }],
      },
    }),
  )
})
