import { once } from 'node:events'
import { get } from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import type { ResolvedProvider } from '../../gateway/tunnels/admit-tunnel.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { encodeFrame, encodeFullFrame, encodeHeadFrame, frameTypes } from '../../protocol/frames/codec.ts'
import { limits } from '../../protocol/limits.ts'
import { formatTunnelMessage, tunnelSubprotocol } from '../../protocol/tunnel.ts'
import { createSessionKey, type SessionKey } from '../../protocol/tunnel-ticket.ts'
import { freePort } from '../support/free-port.ts'
import { connectRawProvider, openRaw, type RawProvider } from '../support/raw-provider.ts'
import {
  createPresentClock,
  createTunnelGateway,
  newAccount,
  openTunnel,
  readCode,
  type TunnelGatewayOptions,
  until,
} from '../support/tunnels.ts'

async function setup(options: Partial<TunnelGatewayOptions> = {}) {
  const owner = newAccount()
  /** Changes hands in some tests. */
  const names = new Map<string, ResolvedProvider>([['alice', { address: owner.address, name: 'alice' }]])
  const gateway = await createTunnelGateway({
    provider: owner.address,
    resolveProvider: async (name) => names.get(name),
    ...options,
  })
  return { owner, names, gateway, [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]() }
}

async function codeOf(run: Promise<unknown>): Promise<string | undefined> {
  try {
    await run
    return undefined
  } catch (error) {
    if (!isProtocolError(error)) throw error
    return error.code
  }
}

describe('whoever does not own the name', () => {
  test('cannot open a tunnel for it, while the owner serves on', async () => {
    await using market = await setup()
    await using _ = openTunnel(
      market.gateway,
      market.owner,
      (_request, response) => void response.end('owner'),
    )
    await until(() => market.gateway.hub.connected().length === 2)
    const log = createTestLog()
    const thief = openTunnel(
      market.gateway,
      newAccount(),
      (_request, response) => void response.end('thief'),
      { log },
    )
    expect(await codeOf(thief.connected)).toBe('tunnel_refused')
    expect(await codeOf(thief.closed)).toBe('tunnel_refused')
    expect(thief.state).toBe('refused')
    expect(log.lines.some(({ level, event }) => level === 'error' && event === 'tunnel_refused')).toBe(true)
    expect(market.gateway.hub.connected()).toHaveLength(2)
    expect(await (await fetch(market.gateway.url)).text()).toBe('owner')
  })

  test('cannot claim the address without its key', async () => {
    await using market = await setup()
    const thief = openTunnel(market.gateway, newAccount(), () => {}, { provider: market.owner.address })
    expect(await codeOf(thief.connected)).toBe('tunnel_refused')
  })

  test('cannot say to be another than it signs for', async () => {
    await using market = await setup()
    const provider = newAccount().address
    const raw = connectRawProvider(market.gateway.tunnelUrl, { account: market.owner, provider })
    expect(await codeOf(raw)).toBe('tunnel_refused')
  })

  test('cannot use a proof that was made for another gateway', async () => {
    await using market = await setup()
    const relayed = connectRawProvider(market.gateway.tunnelUrl, {
      account: market.owner,
      gateway: 'evil.example',
    })
    expect(await codeOf(relayed)).toBe('tunnel_refused')
  })

  test.each([
    ['is over', { validForSeconds: -1 }],
    ['holds for too long', { validForSeconds: limits.tunnelProofAgeSecondsMax + 60 }],
    ['was made for an earlier connection', { nonce: `0x${'ab'.repeat(32)}` as const }],
  ])('cannot use a proof of the owner that %s', async (_, proof) => {
    await using market = await setup()
    const raw = connectRawProvider(market.gateway.tunnelUrl, { account: market.owner, ...proof })
    expect(await codeOf(raw)).toBe('tunnel_refused')
    expect(market.gateway.hub.connected()).toEqual([])
  })

  test('cannot use a name that nobody owns, and is not stopped from trying again', async () => {
    await using market = await setup()
    const raw = connectRawProvider(market.gateway.tunnelUrl, { account: market.owner, name: 'nobody' })
    expect(await codeOf(raw)).toBe('provider_unknown')
  })

  test('does not dial on where a gateway goes by another name than it was dialled by', async () => {
    await using market = await setup()
    const gatewayUrl = market.gateway.tunnelUrl.replace('127.0.0.1', 'other.localhost')
    const tunnel = openTunnel(market.gateway, market.owner, () => {}, { gatewayUrl })
    await expect(tunnel.connected).rejects.toMatchObject({
      code: 'tunnel_refused',
      // Found out by whoever dials, so that nothing was signed.
      message: expect.stringContaining('calls itself'),
    })
  })

  test('loses its tunnel when the name changes hands, and is then refused', async () => {
    await using market = await setup()
    const tunnel = openTunnel(market.gateway, market.owner, () => {}, { sockets: 1 })
    await until(() => market.gateway.hub.connected().length === 1)
    const { signal } = new AbortController()
    await market.gateway.hub.recheck(market.owner.address, signal)
    expect(market.gateway.hub.connected()).toHaveLength(1)
    market.names.set('alice', { address: newAccount().address, name: 'alice' })
    await market.gateway.hub.recheck(market.owner.address, signal)
    expect(await codeOf(tunnel.closed)).toBe('tunnel_refused')
    expect(market.gateway.hub.connected()).toEqual([])
  })

  test('is asked of a contract account, where one owns the name', async () => {
    const contract = '0x00000000000000000000000000000000000c0de1'
    const isGood = { value: true }
    await using market = await setup({
      verifyContractSignature: async ({ address }) => isGood.value && address.toLowerCase() === contract,
    })
    market.names.set('alice', { address: contract, name: 'alice' })
    await using tunnel = openTunnel(market.gateway, newAccount(), () => {}, {
      provider: contract,
      sockets: 1,
    })
    await tunnel.connected
    isGood.value = false
    const refused = openTunnel(market.gateway, newAccount(), () => {}, { provider: contract })
    expect(await codeOf(refused.connected)).toBe('tunnel_refused')
  })
})

describe('resume tickets', () => {
  test('spare the signature of the account, also at the gateway process that comes after', async () => {
    const ticketKey = Buffer.alloc(32, 1)
    const port = await freePort()
    await using market = await setup({ ticketKey, port })
    const sessionKey = createSessionKey()
    const { tunnelUrl } = market.gateway
    await using first = await connectRawProvider(tunnelUrl, { account: market.owner, sessionKey })
    await using second = await connectRawProvider(tunnelUrl, {
      account: newAccount(),
      sessionKey,
      ticket: first.ticket,
    })
    expect([first.proof, second.proof]).toEqual(['account', 'session'])
    await market.gateway[Symbol.asyncDispose]()
    const resolveProvider = async (name: string) => market.names.get(name)
    const options = { provider: market.owner.address, port, resolveProvider, ticketKey }
    await using _ = await createTunnelGateway(options)
    await using third = await connectRawProvider(tunnelUrl, {
      account: newAccount(),
      sessionKey,
      ticket: first.ticket,
    })
    expect(third.proof).toBe('session')
  })

  test('are worth nothing with another session key, or once the name belongs to another', async () => {
    await using market = await setup()
    const sessionKey = createSessionKey()
    const { tunnelUrl } = market.gateway
    await using first = await connectRawProvider(tunnelUrl, { account: market.owner, sessionKey })
    const stolen = connectRawProvider(tunnelUrl, { account: newAccount(), ticket: first.ticket })
    expect(await codeOf(stolen)).toBe('tunnel_refused')
    market.names.set('alice', { address: newAccount().address, name: 'alice' })
    const late = connectRawProvider(tunnelUrl, { account: market.owner, sessionKey, ticket: first.ticket })
    expect(await codeOf(late)).toBe('tunnel_refused')
  })
})

describe('a handshake', () => {
  test('that never goes on is ended after ten seconds', async () => {
    const clock = createPresentClock()
    await using market = await setup({ clock })
    const { webSocket, inbox } = await openRaw(market.gateway.tunnelUrl)
    await clock.advance(limits.tunnelHandshakeTimeoutMs)
    expect(JSON.parse(await inbox.read(new AbortController().signal)).problem.code).toBe('call_timeout')
    await once(webSocket, 'close')
  })

  test.each([
    ['bytes instead of text', Buffer.from('{}')],
    ['text that is no message', '{"type":"welcome"}'],
    ['a message beyond all measure', 'x'.repeat(limits.tunnelHandshakeBytesMax + 1)],
  ])('of %s is refused or dropped', async (_, message) => {
    await using market = await setup()
    const { webSocket } = await openRaw(market.gateway.tunnelUrl)
    webSocket.on('error', () => {})
    webSocket.send(message)
    await once(webSocket, 'close')
    expect(market.gateway.hub.connected()).toEqual([])
  })

  test('that speaks another version is answered with a problem', async () => {
    await using market = await setup()
    const headers = {
      connection: 'upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
      'sec-websocket-protocol': 'khachapuri.tunnel.v0',
    }
    const call = get(market.gateway.url, { headers })
    const [answer] = await once(call, 'response')
    let body = ''
    for await (const part of answer) body += part
    expect([answer.statusCode, JSON.parse(body).code]).toEqual([400, 'bad_request'])
  })

  test('that is no WebSocket is answered, and takes nobody a place for longer', async () => {
    await using market = await setup()
    const headers = {
      connection: 'upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '7',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
      'sec-websocket-protocol': tunnelSubprotocol,
    }
    for (let n = 0; n <= limits.tunnelHandshakesPendingPerAddressMax; n++) {
      const [answer] = await once(get(market.gateway.url, { headers, agent: false }), 'response')
      expect(answer.statusCode).toBe(400)
      answer.resume()
    }
    await using raw = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    expect(raw.tunnelId).toMatch(/^[0-9a-f]{32}$/)
  })

  test('that says much before it is asked for it is cut off', async () => {
    await using market = await setup({ resolveProvider: () => new Promise(() => undefined) })
    const { webSocket } = await openRaw(market.gateway.tunnelUrl)
    const closed = once(webSocket, 'close')
    const hello = { type: 'hello', name: 'alice', sessionKey: createSessionKey().publicKey } as const
    webSocket.send(formatTunnelMessage<'hello'>(hello))
    for (let n = 0; n < 2; n++) webSocket.send('x'.repeat(limits.tunnelHandshakeBytesMax - 1))
    // Not by the end of its time, of which it would be told.
    expect((await closed)[0]).toBe(1006)
  })

  test('beyond what the gateway holds in all is refused before anything is asked', async () => {
    await using market = await setup({ tunnelsMax: 1 })
    await using _ = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    await until(() => market.gateway.hub.connected().length === 1)
    const second = connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    await expect(second).rejects.toThrow('429')
  })

  test('too many from one address are refused before a signature is looked at', async () => {
    let resolved = 0
    await using market = await setup({
      resolveProvider: async () => {
        resolved++
        return undefined
      },
    })
    const tries = Array.from({ length: limits.tunnelHandshakesPerAddressMax + 8 }, () =>
      connectRawProvider(market.gateway.tunnelUrl, { account: market.owner }).catch((error: Error) => error),
    )
    const errors = await Promise.all(tries)
    const refused = errors.filter((error) => String(error).includes('429')).length
    expect(refused).toBeGreaterThanOrEqual(8)
    expect(resolved).toBe(tries.length - refused)
  })

  test('hundreds that say nothing, from a few addresses, keep no owner out', async () => {
    await using market = await setup()
    const { tunnelUrl } = market.gateway
    const silent = await Promise.allSettled(
      Array.from({ length: 300 }, (_, index) => openRaw(tunnelUrl, `127.0.2.${index % 5}`)),
    )
    const open = silent.filter(({ status }) => status === 'fulfilled').length
    expect(open).toBe(5 * limits.tunnelHandshakesPendingPerAddressMax)
    await using tunnel = openTunnel(market.gateway, market.owner, (_, response) => void response.end('owner'))
    await tunnel.connected
    expect(await (await fetch(market.gateway.url)).text()).toBe('owner')
  })

  test('that fails because the chain is away is tried again', async () => {
    let isAway = true
    await using market = await setup({
      resolveProvider: async (name) => {
        if (isAway) throw new ProtocolError('chain_unreachable', 'Away.', { hint: 'Wait.' })
        return { address: market.owner.address, name }
      },
    })
    await using tunnel = openTunnel(market.gateway, market.owner, () => {}, { sockets: 1 })
    await until(() => tunnel.status().lastError?.code === 'chain_unreachable')
    isAway = false
    await tunnel.connected
  })

  test('of a ninth socket of one process is refused, and of a 33rd of all replicas; the others go on', async () => {
    await using market = await setup()
    const account = market.owner
    const { tunnelUrl, hub } = market.gateway
    const connectAll = (sessionKey: SessionKey) =>
      Promise.all(
        Array.from({ length: limits.tunnelSocketsPerProcessMax }, () =>
          connectRawProvider(tunnelUrl, { account, sessionKey }),
        ),
      )
    const first = createSessionKey()
    await connectAll(first)
    expect(await codeOf(connectRawProvider(tunnelUrl, { account, sessionKey: first }))).toBe(
      'too_many_requests',
    )
    for (let others = 1; others < 4; others++) await connectAll(createSessionKey())
    expect(await codeOf(connectRawProvider(tunnelUrl, { account }))).toBe('too_many_requests')
    expect(hub.connected()).toHaveLength(limits.tunnelSocketsPerProviderMax)
  })
})

describe('a hostile provider', () => {
  /** One request, answered with the frames that a test makes. */
  async function answerWith(frames: (streamId: number) => Buffer[], path = '/') {
    const market = await setup()
    const raw = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    const waiting = fetch(market.gateway.url + path)
    const streamId = await nextRequest(raw)
    raw.send(...frames(streamId))
    return { market, raw, answer: await waiting, [Symbol.asyncDispose]: () => market[Symbol.asyncDispose]() }
  }
  const nextRequest = async (raw: RawProvider, index = 0) => {
    const requests = () =>
      raw.frames.filter(({ type }) => type === frameTypes.full || type === frameTypes.head)
    await until(() => requests().length > index)
    return requests()[index]?.streamId as number
  }
  const head = (status: unknown, rawHeaders: unknown) => JSON.stringify([status, rawHeaders])

  test.each([
    ['a line break in a header', head(200, ['a', 'b\r\nc: d'])],
    ['a transfer-encoding', head(200, ['transfer-encoding', 'chunked'])],
    ['two lengths', head(200, ['content-length', '1', 'content-length', '2'])],
    ['a status that is none', head(42, [])],
    ['an interim status', head(100, [])],
    ['no JSON', 'HTTP/1.1 200 OK'],
  ])('that answers with %s gets a 502 for its caller', async (_, text) => {
    await using exchange = await answerWith((id) => [encodeFullFrame(id, text, Buffer.from('x'))])
    expect([exchange.answer.status, await readCode(exchange.answer)]).toEqual([
      502,
      'provider_answer_invalid',
    ])
  })

  test.each([
    ['more', 'okHTTP/1.1 200 OK'],
    ['less', 'o'],
  ])('that sends %s than it announced gets its answer broken off', async (_, body) => {
    await using market = await setup()
    await using raw = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    const whole = fetch(market.gateway.url).then((answer) => answer.text())
    const id = await nextRequest(raw)
    raw.send(encodeHeadFrame(id, head(200, ['content-length', '2'])))
    raw.send(encodeFrame(frameTypes.data, id, Buffer.from(body)), encodeFrame(frameTypes.end, id))
    await expect(whole).rejects.toThrow()
  })

  test('that sends more than it announced puts no byte before the next answer on the connection', async () => {
    await using market = await setup()
    await using raw = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    const caller = connect(market.gateway.port, '127.0.0.1')
    caller.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    const id = await nextRequest(raw)
    raw.send(
      encodeHeadFrame(id, head(200, ['content-length', '2'])),
      encodeFrame(frameTypes.data, id, Buffer.from('ok')),
    )
    let received = ''
    caller.on('data', (bytes) => {
      received += bytes
    })
    await until(() => received.endsWith('ok'))
    raw.send(encodeFrame(frameTypes.data, id, Buffer.from('HTTP/1.1 200 OK\r\n\r\n')))
    await once(caller, 'close')
    expect(received.endsWith('ok')).toBe(true)
  })

  test('that breaks the frame format loses its tunnel, and its callers are told', async () => {
    await using exchange = await answerWith((id) => [
      encodeFrame(frameTypes.accept, id),
      Buffer.alloc(9, 0xff),
    ])
    expect(await readCode(exchange.answer)).toBe('tunnel_lost')
    await until(() => exchange.market.gateway.hub.connected().length === 0)
    expect(exchange.market.gateway.log.lines.some(({ event }) => event === 'tunnel_invalid')).toBe(true)
  })

  test('that refuses everything makes a few attempts, and no more', async () => {
    await using market = await setup()
    await using raw = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    const waiting = fetch(market.gateway.url, { method: 'POST', body: 'x' })
    for (let attempt = 0; attempt < limits.tunnelAttemptsMax; attempt++) {
      raw.send(encodeFrame(frameTypes.reset, await nextRequest(raw, attempt), Buffer.of(2)))
    }
    expect(await readCode(await waiting)).toBe('provider_busy')
  })

  test.each([
    ['text after the handshake', (raw: RawProvider) => raw.webSocket.send('hello')],
    [
      'a message beyond the limit',
      (raw: RawProvider) => raw.webSocket.send(Buffer.alloc(limits.tunnelMessageBytesMax + 1)),
    ],
  ])('that sends %s loses its tunnel', async (_, misbehave) => {
    await using market = await setup()
    await using raw = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    await until(() => market.gateway.hub.connected().length === 1)
    raw.webSocket.on('error', () => {})
    misbehave(raw)
    await until(() => market.gateway.hub.connected().length === 0)
  })

  test('that goes silent without closing is found dead by its pings', async () => {
    const clock = createPresentClock()
    await using market = await setup({ clock })
    await using _ = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    await until(() => market.gateway.hub.connected().length === 1)
    await clock.advance(limits.tunnelPingIntervalMs)
    expect(market.gateway.hub.connected()).toHaveLength(1)
    await clock.advance(limits.tunnelPingIntervalMs * limits.tunnelPingsLostMax)
    await until(() => market.gateway.hub.connected().length === 0)
  })

  test('that goes silent with a request is found dead in ten seconds, and its caller is told', async () => {
    const clock = createPresentClock()
    await using market = await setup({ clock })
    await using raw = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    await until(() => market.gateway.hub.connected().length === 1)
    const waiting = fetch(market.gateway.url, { method: 'POST', body: 'pay' })
    await nextRequest(raw)
    await clock.advance(2 * limits.tunnelSilenceMs + limits.tunnelTickMs)
    await until(() => market.gateway.hub.connected().length === 0)
    await clock.advance(limits.tunnelParkMsMax)
    expect(await readCode(await waiting)).toBe('tunnel_lost')
  })

  test('that is asked for a WebSocket has nothing of what its caller says before it has switched', async () => {
    await using market = await setup()
    await using raw = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    await until(() => market.gateway.hub.connected().length === 1)
    const provider = market.gateway.hub.upstreamFor(market.owner.address)
    const handler = { onHead() {}, onData() {}, onEnd() {}, onError() {} }
    const switching = {
      method: 'GET',
      target: '/',
      rawHeaders: ['host', 'a'],
      switchesTo: 'websocket' as const,
    }
    provider?.send({ ...switching, body: Readable.from([Buffer.from('GET /secret')]) }, handler)
    const streamId = await nextRequest(raw)
    // What was sent before this has come.
    provider?.send({ method: 'GET', target: '/next', rawHeaders: ['host', 'a'] }, handler)
    await nextRequest(raw, 1)
    const said = () =>
      raw.frames.filter((frame) => frame.streamId === streamId && frame.type === frameTypes.data)
    expect(said()).toEqual([])
    raw.send(encodeHeadFrame(streamId, head(101, [])))
    await until(() => said().length > 0)
    expect(said().map(({ text }) => text)).toEqual(['GET /secret'])
  })

  test('that took a request and lost its socket is not sent it again by another process', async () => {
    const clock = createPresentClock()
    await using market = await setup({ clock })
    await using raw = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    await until(() => market.gateway.hub.connected().length === 1)
    const waiting = fetch(market.gateway.url, { method: 'POST', body: 'pay' })
    await nextRequest(raw)
    await using other = await connectRawProvider(market.gateway.tunnelUrl, { account: market.owner })
    raw.webSocket.terminate()
    await until(() => market.gateway.hub.connected().length === 1)
    await clock.advance(limits.tunnelParkMsMax)
    expect(await readCode(await waiting)).toBe('tunnel_lost')
    expect(other.frames.filter(({ streamId }) => streamId > 0)).toEqual([])
  })

  test('gets a request that it was not seen to take back with the number that it had, in the same process only', async () => {
    await using market = await setup()
    const sessionKey = createSessionKey()
    const { tunnelUrl } = market.gateway
    await using raw = await connectRawProvider(tunnelUrl, { account: market.owner, sessionKey })
    await until(() => market.gateway.hub.connected().length === 1)
    const waiting = fetch(market.gateway.url, { method: 'POST', body: 'pay' })
    const streamId = await nextRequest(raw)
    await using stranger = await connectRawProvider(tunnelUrl, { account: market.owner })
    await using again = await connectRawProvider(tunnelUrl, { account: market.owner, sessionKey })
    raw.webSocket.terminate()
    const id = await nextRequest(again)
    const replayed = JSON.parse(again.frames.find(({ streamId: one }) => one === id)?.text as string)
    expect(replayed[3]).toEqual([[raw.tunnelId, streamId]])
    expect(stranger.frames.some(({ type }) => type === frameTypes.head)).toBe(false)
    again.send(encodeFrame(frameTypes.reset, id, Buffer.of(3)))
    expect(await readCode(await waiting)).toBe('tunnel_lost')
  })
})
