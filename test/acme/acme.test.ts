import { X509Certificate } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openAcmeSource } from '../../gateway/tls/acme/acme-source.ts'
import { orderCertificate } from '../../gateway/tls/acme/order-certificate.ts'
import type { PemPair } from '../../gateway/tls/dev-authority.ts'
import { openDomainCertificates } from '../../gateway/tls/domain-certificates.ts'
import { openPlainListener } from '../../gateway/tls/plain-listener.ts'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { openDnsServer } from '../support/dns-server.ts'
import { createTestAuthority, type TestAuthority } from '../support/tls.ts'
import { buildPebble, startPebble } from './pebble.ts'

const pebblePath = await buildPebble()
const never = new AbortController().signal
const dayMs = 86_400_000

let authority: TestAuthority
const trusted = getCACertificates('default')
beforeAll(async () => {
  authority = await createTestAuthority()
  setDefaultCACertificates([...trusted, authority.ca])
})
afterAll(() => setDefaultCACertificates(trusted))

/** A gateway's port 80, a name server whose records a hook puts into a file, and an authority that looks at both. */
async function setup() {
  const stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'acme-'))
  stack.defer(() => rm(dir, { recursive: true }))
  const zoneFile = join(dir, 'zone')
  const proofs = new Map<string, string>()
  const plain = stack.use(
    await openPlainListener({
      host: '127.0.0.1',
      port: 0,
      target: () => undefined,
      challenge: (token) => proofs.get(token),
    }),
  )
  const dns = stack.use(
    await openDnsServer(async (name) => {
      const lines = (await readFile(zoneFile, 'utf8').catch(() => '')).split('\n')
      const values = new Set<string>()
      for (const line of lines) {
        const [action, recordName, value = ''] = line.split(' ')
        if (recordName !== name) continue
        if (action === 'add') values.add(value)
        else values.delete(value)
      }
      return [...values]
    }),
  )
  const pebble = stack.use(
    await startPebble(pebblePath as string, { authority, dnsPort: dns.port, httpPort: plain.port }),
  )
  const clock = createTestClock(Date.now())
  const log = createTestLog()
  const options = {
    directoryUrl: pebble.directoryUrl,
    domain: 'market.example',
    providers: ['alice'],
    dir: join(dir, 'acme'),
  }
  const hook = ['/bin/sh', '-c', `echo "$1 $2 $3" >> ${zoneFile}`, 'hook']
  return {
    clock,
    log,
    proofs,
    dir: options.dir,
    directoryUrl: options.directoryUrl,
    hook,
    zone: () => readFile(zoneFile, 'utf8'),
    open: (more: { hook?: readonly string[]; providers?: readonly string[] } = {}) =>
      openAcmeSource({ clock, random: () => 0.5, log, proofs }, { ...options, ...more }, never),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

test.skipIf(!pebblePath)(
  'by DNS: a wildcard, kept for this user only, taken up again, and renewed after two thirds of its life',
  async () => {
    await using at = await setup()
    {
      await using source = await at.open({ hook: at.hook })
      expect([...source.certificate.names].sort()).toEqual([
        '*.alice.market.example',
        '*.market.example',
        'market.example',
      ])
    }
    const files = (await readdir(at.dir)).sort()
    expect(files).toEqual([expect.stringMatching(/^account-localhost_\d+\.json$/), 'cert.pem', 'key.pem'])
    for (const file of files) expect((await stat(join(at.dir, file))).mode & 0o777).toBe(0o600)
    const zone = (await at.zone()).trim().split('\n')
    expect(zone.filter((line) => line.startsWith('add ')).length).toBe(3)
    expect(zone.filter((line) => line.startsWith('remove ')).length).toBe(3)

    await using again = await at.open({ hook: at.hook })
    expect(at.log.lines.map(({ event }) => event)).toEqual(['certificate_ordered'])
    const before = again.certificate.cert
    const renewed = new Promise<string>((resolve) => again.onChange(({ cert }) => resolve(cert)))
    await at.clock.advance(59 * dayMs)
    expect(again.certificate.cert).toBe(before)
    await at.clock.advance(4 * dayMs)
    expect(await renewed).not.toBe(before)
    expect(await readFile(join(at.dir, 'cert.pem'), 'utf8')).toBe(again.certificate.cert)
  },
)

test.skipIf(!pebblePath)('by HTTP: the domain and the named providers, each proved at port 80', async () => {
  await using at = await setup()
  await using source = await at.open()
  expect([...source.certificate.names].sort()).toEqual(['alice.market.example', 'market.example'])
  expect(at.proofs.size).toBe(0)
  await using wider = await at.open({ providers: ['alice', 'bob'] })
  expect(wider.certificate.names).toContain('bob.market.example')
})

test.skipIf(!pebblePath)(
  'an authority that finds no proof gives nothing; it is asked again later, and the log says why',
  async () => {
    await using at = await setup()
    const opening = at.open({ hook: ['/bin/sh', '-c', 'true', 'hook'] })
    const failures = () => at.log.lines.filter(({ event }) => event === 'certificate_order_failed')
    while (failures().length < 1) await new Promise((resolve) => setImmediate(resolve))
    expect(failures()[0]).toMatchObject({ level: 'error', facts: { failures: 0, retryInMs: 300_000 } })
    await at.clock.advance(299_999)
    expect(failures().length).toBe(1)
    await at.clock.advance(1)
    while (failures().length < 2) await new Promise((resolve) => setImmediate(resolve))
    expect(failures()[1]).toMatchObject({ facts: { retryInMs: 600_000 } })
    opening.catch(() => undefined)
  },
)

test.skipIf(!pebblePath)('a hook that cannot be run is told at the start', async () => {
  await using at = await setup()
  await expect(at.open({ hook: ['/nowhere/hook'] })).rejects.toMatchObject({ code: 'config_invalid' })
})

test.skipIf(!pebblePath)(
  'a domain of somebody else: ordered at the first handshake, once it is proved, with the account that is there',
  async () => {
    await using at = await setup()
    await using source = await at.open()
    expect(source.certificate.names).toContain('market.example')
    const proven = new Set<string>()
    await using domains = await openDomainCertificates(
      {
        ...{ clock: at.clock, random: () => 0.5, log: at.log },
        isProven: async (domain) => proven.has(domain),
        order: (domain, signal) =>
          orderCertificate(at, { directoryUrl: at.directoryUrl, domain, providers: [] }, signal),
      },
      { dir: join(at.dir, 'domains'), domain: 'market.example', ordersPerHourMax: 4 },
    )
    expect(await domains.find('shop.example')).toBeUndefined()
    proven.add('shop.example')
    // The authority may take longer than a caller waits.
    await expect.poll(() => domains.find('shop.example')).toBeDefined()
    const pair = (await domains.find('shop.example')) as PemPair
    expect(new X509Certificate(pair.cert).subjectAltName).toBe('DNS:shop.example')
    expect(at.proofs.size).toBe(0)
    const accounts = (await readdir(at.dir)).filter((name) => name.startsWith('account-'))
    expect(accounts.length).toBe(1)
  },
)
