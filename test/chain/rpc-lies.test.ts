import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { type Address, pad } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { assertChain, createChainClient } from '../../protocol/chain/client.ts'
import { createGrantMirror } from '../../protocol/chain/grant-mirror.ts'
import { createRpcServer } from '../../protocol/chain/rpc-server.ts'
import { limits } from '../../protocol/limits.ts'
import { openTestChain } from '../support/chain.ts'
import { addressOf, never } from '../support/money.ts'
import { openRpcProxy, type RpcAnswer, type RpcCall } from '../support/rpc-proxy.ts'

/** RPC servers that lie, between a provider and a real chain: what two of them do not say alike is not believed. */

type Lie = (call: RpcCall, answer: RpcAnswer) => RpcAnswer

interface Log {
  readonly address: Address
  readonly blockNumber: string
  readonly topics: readonly string[]
  readonly data: string
}

/** Changes what the logs say; all else stays true. */
const inLogs =
  (change: (logs: readonly Log[]) => readonly unknown[]): Lie =>
  ({ method }, answer) =>
    method === 'eth_getLogs' ? { result: change(answer.result as Log[]) } : answer

async function setup() {
  await using starting = new AsyncDisposableStack()
  const chain = starting.use(await openTestChain())
  let lie: Lie | undefined
  const liar = starting.use(
    await openRpcProxy(chain.rpcUrl, { falsify: (call, answer) => lie?.(call, answer) ?? answer }),
  )
  const honest = starting.use(await openRpcProxy(chain.rpcUrl))
  const { address: provider } = await chain.createAccount()
  const terms = { provider, priceUsdc: 10n, budgetUsdc: 1_000n }
  const payer = await chain.createPayer(5_000n, terms)
  const clock = createTestClock()
  const log = createTestLog()
  const parts = starting.move()
  const clientOf = (...rpcUrls: URL[]) => createChainClient({ chainId: chain.market.chainId, rpcUrls })
  return {
    chain,
    liar,
    honest,
    provider,
    payer,
    terms,
    clock,
    log,
    clientOf,
    setLie(next: Lie | undefined) {
      lie = next
    },
    openMirror: (...rpcUrls: URL[]) =>
      createGrantMirror(
        { client: clientOf(...rpcUrls), clock, log },
        { escrow: chain.escrow, provider, fromBlock: 0n, intervalMs: 1e9 },
        never,
      ),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

const stranger = addressOf(77)

const lies: readonly (readonly [string, Lie])[] = [
  ['are missing', inLogs(() => [])],
  [
    'name a payer who gave nothing',
    inLogs((logs) => [
      ...logs,
      ...logs.map((log) => ({ ...log, topics: [log.topics[0], pad(stranger), log.topics[2]] })),
    ]),
  ],
  [
    'promise more',
    inLogs((logs) => logs.map((log) => ({ ...log, data: log.data.replace(/[1-9a-e]/, 'f') }))),
  ],
  ['are of another contract', inLogs((logs) => logs.map((log) => ({ ...log, address: stranger })))],
  ['are of other blocks', inLogs((logs) => logs.map((log) => ({ ...log, blockNumber: '0x1' })))],
  ['are said to be undone', inLogs((logs) => logs.map((log) => ({ ...log, removed: true, data: '0x' })))],
  ['are nonsense', inLogs(() => [null, 7, 'log'])],
  ['are no list', ({ method }, answer) => (method === 'eth_getLogs' ? { result: 'none' } : answer)],
]

test.each(lies)('logs that %s are not believed beside a server that says otherwise', async (_what, lie) => {
  await using s = await setup()
  const { chain, liar, honest, payer, terms } = s
  await using mirror = await s.openMirror(liar.url, honest.url)
  await chain.approve(payer, { ...terms, budgetUsdc: 2_000n })
  for (const rpcUrls of [
    [liar.url, honest.url],
    [honest.url, liar.url],
  ]) {
    s.setLie(undefined)
    await using other = await s.openMirror(...rpcUrls)
    s.setLie(lie)
    await chain.approve(payer, { ...terms, budgetUsdc: other.grant(payer)!.budgetUsdc + 1_000n })
    await expect(other.refresh(never)).rejects.toMatchObject({ code: 'chain_disputed' })
    expect(other.status().lostSinceMs).toBe(s.clock.nowMs())
    expect(other.grant(stranger)).toBeUndefined()
    expect([...other.grants()]).toHaveLength(1)
  }
  await expect(mirror.refresh(never)).rejects.toMatchObject({ code: 'chain_disputed' })
  expect(mirror.grant(payer)?.budgetUsdc).toBe(1_000n)
  s.setLie(undefined)
  await mirror.refresh(never)
  expect(mirror.grant(payer)?.budgetUsdc).toBe(4_000n)
})

/** What a server adds that was not asked for, each time a grant of somebody who gave nothing. */
const additions: readonly (readonly [string, (log: Log) => Partial<Log>])[] = [
  ['of another contract', () => ({ address: stranger })],
  ['of blocks to come', () => ({ blockNumber: '0xffffffff' })],
  [
    'for another provider',
    ({ topics }) => ({
      topics: [topics[0] as string, pad(stranger), pad(addressOf(78)), ...topics.slice(3)],
    }),
  ],
]

test.each(additions)('logs %s move no money, though the only server shows them', async (_what, change) => {
  await using s = await setup()
  s.setLie(
    inLogs((logs) => [
      ...logs,
      ...logs.map((log) => ({
        ...log,
        topics: [log.topics[0], pad(stranger), ...log.topics.slice(2)],
        ...change(log),
      })),
    ]),
  )
  await using mirror = await s.openMirror(s.liar.url)
  expect(mirror.grant(s.payer)?.budgetUsdc).toBe(1_000n)
  expect([...mirror.grants()]).toHaveLength(1)
})

test('two of three that say the same are believed, whoever is asked first', async () => {
  await using s = await setup()
  s.setLie(inLogs(() => []))
  await using third = await openRpcProxy(s.chain.rpcUrl)
  await using mirror = await s.openMirror(s.liar.url, s.honest.url, third.url)
  expect(mirror.grant(s.payer)?.budgetUsdc).toBe(1_000n)
})

test('a server that is alone is believed; one that is silent contradicts nobody', async () => {
  await using s = await setup()
  s.setLie(inLogs(() => []))
  await using alone = await s.openMirror(s.liar.url)
  expect(alone.grant(s.payer)).toBeUndefined()
  s.honest.cut()
  await using mirror = await s.openMirror(s.liar.url, s.honest.url)
  expect(mirror.grant(s.payer)).toBeUndefined()
})

test('a server that makes up blocks is not believed about them, though the other says nothing of these', async () => {
  await using s = await setup()
  await using mirror = await s.openMirror(s.liar.url, s.honest.url)
  s.setLie(({ method, params }, answer) => {
    const isHead = method === 'eth_getBlockByNumber' && !params.startsWith('["0x')
    if (isHead) return { result: { ...(answer.result as object), number: '0xffffff' } }
    return method === 'eth_getLogs' ? { result: [] } : answer
  })
  const { blockNumber } = mirror.status()
  await s.chain.mine()
  await mirror.refresh(never)
  expect(mirror.status().blockNumber).toBe(blockNumber + 1n)
})

test('a server of another chain is not asked; where it is the only one, the command says so', async () => {
  await using s = await setup()
  s.setLie(({ method }, answer) =>
    method === 'eth_chainId' ? { result: '0x1' } : { ...answer, result: '0x1234' },
  )
  const client = s.clientOf(s.liar.url, s.honest.url)
  expect(await client.getBlockNumber()).toBe(await s.chain.client.getBlockNumber())
  const only = s.clientOf(s.liar.url)
  await expect(assertChain(only, s.chain.market.chainId, never)).rejects.toMatchObject({
    code: 'config_invalid',
  })
  await expect(only.getBlockNumber()).rejects.toThrow('on chain 1')
})

test('what the EVM says must be said twice: an invented balance is no balance', async () => {
  await using s = await setup()
  s.setLie(({ method }, answer) => (method === 'eth_call' ? { result: `0x${'f'.repeat(64)}` } : answer))
  const client = s.clientOf(s.liar.url, s.honest.url)
  const data = `0x70a08231${'0'.repeat(24)}${s.payer.slice(2)}` as const
  await expect(client.call({ to: s.chain.escrow, data })).rejects.toThrow('contradict each other')
})

test('a transaction goes to all servers, so that one that keeps it to itself holds nothing up', async () => {
  await using s = await setup()
  const account = await s.chain.createAccount()
  const { chainId } = s.chain.market
  const transaction = { chainId, nonce: 0, to: stranger, value: 1n, gas: 21_000n, type: 'eip1559' } as const
  const fees = { maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 1n }
  const serializedTransaction = await account.signTransaction({ ...transaction, ...fees })
  await s.clientOf(s.liar.url, s.honest.url).sendRawTransaction({ serializedTransaction })
  const sentTo = [s.liar, s.honest].map(
    ({ calls }) => calls.filter(({ method }) => method === 'eth_sendRawTransaction').length,
  )
  expect(sentTo).toEqual([1, 1])
  expect(await s.chain.client.getBalance({ address: stranger })).toBe(1n)
})

/** Answers as it is told, byte by byte if need be. */
async function openRawServer(
  answer: (response: ServerResponse, call: { id: unknown; method: string }) => void,
) {
  const server = createServer(async (request, response) => {
    answer(response, (await json(request)) as { id: unknown; method: string })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

test('an answer without end is broken off, and the next server is asked', async () => {
  await using s = await setup()
  let sent = 0
  await using flood = await openRawServer((response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const chunk = Buffer.alloc(2 ** 20, ' ')
    const pour = () => {
      while (!response.destroyed && response.write(chunk)) sent += chunk.length
    }
    response.on('drain', pour).on('error', () => undefined)
    pour()
  })
  const client = s.clientOf(flood.url, s.honest.url)
  expect(await client.getBalance({ address: s.payer })).toBe(
    await s.chain.client.getBalance({ address: s.payer }),
  )
  expect(sent).toBeLessThan(8 * limits.rpcAnswerBytesMax)
})

test('an answer that begins and never ends is a failure like silence', async () => {
  await using s = await setup()
  await using dripping = await openRawServer((response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.write('{')
  })
  const server = createRpcServer(dripping.url, { chain: s.clientOf(dripping.url).chain }, { timeoutMs: 100 })
  await expect(server.request({ method: 'eth_blockNumber' })).rejects.toThrow()
})

test('a look that never ends counts as a chain that is lost, though each of its questions is answered', async () => {
  await using s = await setup()
  await using mirror = await createGrantMirror(
    { client: s.clientOf(s.liar.url), clock: s.clock, log: s.log },
    { escrow: s.chain.escrow, provider: s.provider, fromBlock: 0n, intervalMs: 1_000 },
    never,
  )
  expect(mirror.status().lostForMs).toBeUndefined()
  const isAsked = Promise.withResolvers<void>()
  s.setLie(({ method }, answer) => {
    if (method === 'eth_getLogs') isAsked.resolve()
    if (method !== 'eth_getBlockByNumber') return answer
    return { result: { ...(answer.result as object), number: '0xffffffffffff', hash: pad('0x1') } }
  })
  await s.clock.advance(1_000)
  await isAsked.promise
  await s.clock.advance(limits.mirrorLookMsMax + 1_000)
  expect(mirror.status().lostForMs).toBeGreaterThan(limits.mirrorLookMsMax)
})
