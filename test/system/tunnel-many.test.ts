import { randomBytes } from 'node:crypto'
import { type Address, getAddress } from 'viem'
import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createSessionKey, createTicketOffice } from '../../protocol/tunnel-ticket.ts'
import { dialTunnel } from '../../tunnel-client/dial-tunnel.ts'
import { loopbackLookup } from '../../tunnel-client/index.ts'
import { createTakenStreams } from '../../tunnel-client/taken-streams.ts'
import { startTunnelSession, type TunnelSession } from '../../tunnel-client/tunnel-session.ts'
import { createTunnelGateway, domain, newAccount, until } from '../support/tunnels.ts'

const tunnels = 1_000
const addressOf = (name: string): Address =>
  getAddress(`0x${Buffer.from(name).toString('hex').padStart(40, '0')}`)

test('a thousand providers are back at a gateway that was started again, by their tickets, and each gets its own calls', async () => {
  const ticketKey = randomBytes(32)
  await using gateway = await createTunnelGateway({
    provider: addressOf('nobody'),
    resolveProvider: async (name) => ({ address: addressOf(name), name }),
    ticketKey,
  })
  const gatewayHost = `127.0.0.1:${gateway.port}`
  // What the gateway that was there before gave them: no account signs anything now.
  const tickets = createTicketOffice({ nowMs: systemClock.nowMs }, { key: ticketKey, gatewayHost })
  const account = newAccount()
  const log = createTestLog()
  const stop = new AbortController()
  const names = Array.from({ length: tunnels }, (_, n) => `provider-${n}`)
  const open = async (name: string, n: number) => {
    const provider = addressOf(name)
    const sessionKey = createSessionKey()
    const ticket = tickets.issue({ provider, sessionKey: sessionKey.publicKey })
    const dialed = await dialTunnel(
      { clock: systemClock, lookup: loopbackLookup, proxyEnv: {} },
      {
        gatewayUrl: new URL(gateway.tunnelUrl),
        credentials: { name, account, provider, domain, sessionKey, ticket, purpose: 'requests' },
        // One address has so many handshakes, and no more.
        localAddress: `127.0.1.${1 + (n % 50)}`,
      },
      stop.signal,
    )
    return startTunnelSession(
      {
        clock: systemClock,
        log,
        handler: (request, response) => {
          response.writeHead(200, [])
          response.end(`${name} ${request.url}`)
        },
        taken: createTakenStreams(),
        findStream: () => undefined,
        onMore: () => undefined,
      },
      dialed,
    )
  }
  const sessions: TunnelSession[] = []
  // So many at a time: all of them in this one process would run into their time limits on a slow machine.
  for (let n = 0; n < tunnels; n += 50) {
    const wave = names.slice(n, n + 50).map((name, index) => open(name, n + index))
    sessions.push(...(await Promise.all(wave)))
  }
  await until(() => gateway.hub.connected().length === tunnels)

  const call = (name: string) =>
    new Promise<string>((resolve, reject) => {
      const parts: Buffer[] = []
      gateway.hub.upstreamFor(addressOf(name))?.send(
        { method: 'GET', target: '/mine', rawHeaders: ['host', name] },
        {
          onHead: () => undefined,
          onData: (chunk) => void parts.push(chunk),
          onEnd: () => resolve(Buffer.concat(parts).toString()),
          onError: reject,
        },
      )
    })
  expect(await Promise.all(names.map(call))).toEqual(names.map((name) => `${name} /mine`))
  expect(sessions.map(({ requests }) => requests)).toEqual(names.map(() => 1))
  expect(gateway.log.lines.filter(({ event }) => event === 'tunnel_refused')).toEqual([])
  for (const session of sessions) session.cut()
  await until(() => gateway.hub.connected().length === 0)
})
