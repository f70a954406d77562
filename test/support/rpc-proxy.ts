import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

/** One JSON-RPC call that went through. */
export interface RpcCall {
  readonly method: string
  /** Its parameters as JSON. */
  readonly params: string
}

/** A way to a chain that counts what is asked, and can be cut. */
export interface RpcProxy extends AsyncDisposable {
  /** Stays the same over cuts. */
  readonly url: URL
  readonly calls: readonly RpcCall[]
  /** Breaks all connections, and every one that is tried from now on. */
  cut(): void
  restore(): void
}

/** What a test does at a certain request. A call whose hook throws is broken off. */
export interface RpcHooks {
  before?(call: RpcCall): Promise<void> | void
  /** The chain has answered; the caller does not know it yet. */
  after?(call: RpcCall): Promise<void> | void
  /** What the caller is told instead of the chain's answer. */
  falsify?(call: RpcCall, answer: RpcAnswer): RpcAnswer
}

export interface RpcAnswer {
  readonly result?: unknown
  readonly error?: unknown
}

/** Puts a proxy before a JSON-RPC server. */
export async function openRpcProxy(target: URL, hooks: RpcHooks = {}): Promise<RpcProxy> {
  const calls: RpcCall[] = []
  let isCut = false

  async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request)
    const asked: RpcCall[] = [JSON.parse(body.toString())]
      .flat()
      .map(({ method, params }) => ({ method, params: JSON.stringify(params ?? []) }))
    calls.push(...asked)
    for (const call of asked) await hooks.before?.(call)
    const answer = await fetch(target, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: new Uint8Array(body),
    })
    const text = await answer.text()
    for (const call of asked) await hooks.after?.(call)
    const [only] = asked
    const told = hooks.falsify && only ? JSON.stringify(falsify(only, text)) : text
    response.writeHead(answer.status, { 'content-type': 'application/json' })
    response.end(told)
  }

  function falsify(call: RpcCall, text: string) {
    const { result: _result, error: _error, ...envelope } = JSON.parse(text)
    const { result, error } = JSON.parse(text) as RpcAnswer
    const answer = error === undefined ? { result } : { error }
    return { ...envelope, ...(hooks.falsify?.(call, answer) ?? answer) }
  }

  const server = createServer((request, response) => {
    // Whoever is cut off in the middle has nobody to tell.
    forward(request, response).catch(() => response.destroy())
  })
  // It listens all the time: a port that it gave up could be somebody else's when it wants it back.
  server.on('connection', (socket) => isCut && socket.resetAndDestroy())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  function cut(): void {
    isCut = true
    server.closeAllConnections()
  }

  return {
    url: new URL(`http://127.0.0.1:${port}`),
    calls,
    cut,
    restore() {
      isCut = false
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}
