import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { openAcmeAuthority } from '../../test/support/acme-authority.ts'
import { freePlace } from '../../test/support/free-port.ts'
import { createTestAuthority } from '../../test/support/tls.ts'
import { openGatewayTls } from './open-gateway-tls.ts'

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
        from: { directoryUrl: authority.directoryUrl, domain, providers: ['alice'] },
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
