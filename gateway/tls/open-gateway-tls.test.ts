import { once } from 'node:events'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { connect as connectTls } from 'node:tls'
import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { listen } from '../../protocol/http/listen.ts'
import { openAcmeAuthority } from '../../test/support/acme-authority.ts'
import { freePlace } from '../../test/support/free-port.ts'
import { createTestAuthority } from '../../test/support/tls.ts'
import { type OpenGatewayTls, openGatewayTls } from './open-gateway-tls.ts'

const never = new AbortController().signal

test('an authority finds its proofs at the port for plain HTTP, and gives the certificate that is shown', async () => {
  await using stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'gateway-tls-'))
  stack.defer(() => rm(dir, { recursive: true }))
  const { host, port: httpPort } = await freePlace()
  const authority = stack.use(await openAcmeAuthority({ host, port: httpPort }))
  const domain = 'market.example'
  const tls = stack.use(
    await openGatewayTls(
      { clock: systemClock, random: Math.random, log: createTestLog() },
      {
        from: { directoryUrl: authority.directoryUrl, domain, providers: ['alice'], domainsPerHour: 0 },
        ...{ host, httpPort, isShared: false, dir, domain },
      },
      never,
    ),
  )
  expect(authority.orders).toEqual([['market.example', 'alice.market.example']])
  expect([...authority.proofs.values()]).toEqual([
    expect.stringMatching(/^token-0-0\.[\w-]{43}$/),
    expect.stringMatching(/^token-0-1\.[\w-]{43}$/),
  ])
  expect(tls.httpPort).toBe(httpPort)
  expect(tls.identity.cert).toContain('BEGIN CERTIFICATE')
  expect(tls.domains).toBeUndefined()
})

test('a proven domain of somebody else gets a certificate when it is first asked for, which is kept; no other does', async () => {
  await using stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'gateway-tls-'))
  stack.defer(() => rm(dir, { recursive: true }))
  const { host, port: httpPort } = await freePlace()
  const authority = stack.use(await openAcmeAuthority({ host, port: httpPort }))
  const domain = 'market.example'
  const open = () =>
    openGatewayTls(
      { clock: systemClock, random: Math.random, log: createTestLog() },
      {
        from: { directoryUrl: authority.directoryUrl, domain, providers: [], domainsPerHour: 20 },
        ...{ host, httpPort, isShared: false, dir, domain },
        isProven: async (name) => name === 'shop.example',
      },
      never,
    )
  const showTo = async (servername: string, tls: OpenGatewayTls) => {
    await using listener = await listen({
      tls: tls.identity,
      findCertificate: tls.domains?.find,
      onRequest: (_, response) => response.end(),
    })
    const socket = connectTls({ port: listener.port, servername, rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { subjectaltname } = socket.getPeerCertificate()
    socket.destroy()
    return subjectaltname
  }
  {
    await using tls = await open()
    tls.leadTo({ domain, port: '' })
    const ask = async (name: string) => {
      const socket = connect(httpPort, host)
      socket.write(`GET /a HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`)
      return /^HTTP\/1\.1 (\d+)|^location: (.*)\r$/im.exec(await text(socket))?.[1]
    }
    expect(await ask('shop.example')).toBe('421')
    // A caller waits for so long only.
    await expect.poll(() => showTo('shop.example', tls)).toBe('DNS:shop.example')
    expect(await showTo('SHOP.example', tls)).toBe('DNS:shop.example')
    for (const other of ['other.example', domain, `any.${domain}`, 'localhost', 'a..b', '127.0.0.1.']) {
      expect(await showTo(other, tls)).toBe(`DNS:${domain}`)
    }
    expect(await ask('shop.example')).toBe('308')
    expect(await ask('other.example')).toBe('421')
    expect((await stat(join(dir, 'domains', 'shop.example.json'))).mode & 0o777).toBe(0o600)
  }
  await using again = await open()
  expect(await showTo('shop.example', again)).toBe('DNS:shop.example')
  expect(authority.orders).toEqual([[domain], ['shop.example']])
})

test('a load balancer is asked at the port for plain HTTP, too, whose each connection is', async () => {
  await using stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'gateway-tls-'))
  stack.defer(() => rm(dir, { recursive: true }))
  const pair = await (await createTestAuthority()).sign('localhost')
  const from = { certFile: join(dir, 'cert.pem'), keyFile: join(dir, 'key.pem') }
  await writeFile(from.certFile, pair.cert)
  await writeFile(from.keyFile, pair.key, { mode: 0o600 })
  const tls = stack.use(
    await openGatewayTls(
      { clock: systemClock, random: Math.random, log: createTestLog() },
      {
        from,
        ...{ host: '127.0.0.1', httpPort: 0, isShared: false, balancers: ['127.0.0.0/8'], dir },
        domain: 'localhost',
      },
      never,
    ),
  )
  tls.leadTo({ domain: 'localhost', port: '' })
  const ask = async (before: string) => {
    const socket = connect(tls.httpPort as number, '127.0.0.1')
    socket.write(`${before}GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
    return text(socket).catch(() => '')
  }
  expect(await ask('PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n')).toMatch(/^HTTP\/1\.1 308/)
  expect(await ask('')).toBe('')
})
