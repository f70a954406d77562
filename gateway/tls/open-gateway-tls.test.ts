import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { openAcmeAuthority } from '../../test/support/acme-authority.ts'
import { freePlace } from '../../test/support/free-port.ts'
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
