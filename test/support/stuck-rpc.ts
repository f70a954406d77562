import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'

/** An RPC server whose view of the chain ends at the block at which it was opened. All else it asks of a real one. */
export interface StuckRpc extends AsyncDisposable {
  readonly url: URL
  /** Knows all blocks from now on. */
  catchUp(): void
  close(): Promise<void>
}

export async function openStuckRpc(target: URL): Promise<StuckRpc> {
  const forward = async (body: unknown): Promise<{ result?: unknown }> => {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(target, { method: 'POST', headers, body: JSON.stringify(body) })
    return (await answer.json()) as { result?: unknown }
  }
  const { result: last } = await forward({ jsonrpc: '2.0', id: 1, method: 'eth_blockNumber', params: [] })
  let isStuck = true

  async function answer(call: { id: unknown; method: string; params?: unknown[] }): Promise<unknown> {
    if (isStuck && call.method === 'eth_blockNumber') return { jsonrpc: '2.0', id: call.id, result: last }
    const isOfHead = call.method === 'eth_getBlockByNumber' && !String(call.params?.[0]).startsWith('0x')
    return forward(isStuck && isOfHead ? { ...call, params: [last, ...(call.params?.slice(1) ?? [])] } : call)
  }

  const server = createServer(async (request, response) => {
    const body = (await json(request)) as Parameters<typeof answer>[0]
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(await answer(body)))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    if (!server.listening) return
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
  return {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    catchUp() {
      isStuck = false
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
