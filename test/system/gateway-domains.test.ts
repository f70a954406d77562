import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { expect, test } from 'vitest'
import { startGateway } from '../../gateway/start-gateway.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { openAcmeAuthority } from '../support/acme-authority.ts'
import { freePlace } from '../support/free-port.ts'

test('a certificate for a domain of somebody else is ordered once, and all processes of the gateway show it', async () => {
  await using stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'gateway-domains-'))
  stack.defer(() => rm(dir, { recursive: true }))
  const { host, port: httpPort } = await freePlace()
  const authority = stack.use(await openAcmeAuthority({ host, port: httpPort }))
  const domain = 'market.example'
  // Nothing is read from it: no call is made.
  const rpcUrl = new URL('http://127.0.0.1:1/')
  const zero = '0x0000000000000000000000000000000000000001'
  const gateway = stack.use(
    await startGateway(
      {
        ...{ clock: systemClock, log: createTestLog() },
        client: createChainClient({ chainId: 31_337, rpcUrls: [rpcUrl] }),
        lookupTxt: async (name) => (name === '_khachapuri.shop.example' ? ['khachapuri=thumbs'] : []),
      },
      {
        ...{ host, port: 0, domain, dir, allowPrivate: true, version: 'test' },
        contracts: { chainId: 31_337, usdc: zero, escrow: zero, registry: zero },
        workers: { count: 3, rpcUrls: [rpcUrl.href], logLevel: 'error' },
        tls: {
          from: { directoryUrl: authority.directoryUrl, domain, providers: [], domainsPerHour: 20 },
          httpPort,
        },
      },
      new AbortController().signal,
    ),
  )
  const namesShownTo = async (servername: string) => {
    const socket = connect({ host, port: gateway.port, servername, rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { subjectaltname } = socket.getPeerCertificate()
    socket.destroy()
    return subjectaltname
  }
  // A caller waits for so long only.
  await expect.poll(() => namesShownTo('shop.example')).toBe('DNS:shop.example')
  // On connections of their own, which the kernel gives to any of the processes.
  const shown = await Promise.all(Array.from({ length: 24 }, () => namesShownTo('shop.example')))
  expect(new Set(shown)).toEqual(new Set(['DNS:shop.example']))
  const others = await Promise.all(Array.from({ length: 12 }, (_, n) => namesShownTo(`shop${n}.example`)))
  expect(new Set(others)).toEqual(new Set([`DNS:${domain}`]))
  expect(authority.orders).toEqual([[domain], ['shop.example']])
})
