import { chmod, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { createTestAuthority, type TestAuthority } from '../../test/support/tls.ts'
import { coversHost } from './certificate.ts'
import { openCertificateFiles } from './certificate-files.ts'
import type { PemPair } from './dev-authority.ts'

let authority: TestAuthority
let first: PemPair
let second: PemPair
beforeAll(async () => {
  authority = await createTestAuthority()
  first = await authority.sign('localhost', '*.market.localhost')
  second = await authority.sign('other.localhost')
})

async function setup(pair: PemPair = first) {
  const dir = await mkdtemp(join(tmpdir(), 'tls-'))
  const files = { certFile: join(dir, 'cert.pem'), keyFile: join(dir, 'key.pem') }
  const write = async ({ cert, key }: PemPair) => {
    await writeFile(files.certFile, cert)
    await writeFile(files.keyFile, key, { mode: 0o600 })
  }
  await write(pair)
  const clock = createTestClock(Date.now())
  const log = createTestLog()
  return {
    dir,
    files,
    write,
    clock,
    log,
    open: () => openCertificateFiles({ clock, log }, files),
    events: () => log.lines.map(({ event }) => event),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true }),
  }
}

test('a certificate says which hosts it is for', async () => {
  await using at = await setup()
  await using source = await at.open()
  const { certificate } = source
  expect(certificate.names).toEqual(['localhost', '*.market.localhost'])
  const hosts = ['localhost', 'alice.market.localhost', 'market.localhost', 'a.b.market.localhost']
  expect(hosts.map((host) => coversHost(certificate, host))).toEqual([true, true, false, false])
})

test('what cannot be used is refused at the start, with what to do, and never with what is in the key', async () => {
  await using at = await setup()
  const { certFile, keyFile } = at.files
  const refusal = async () => {
    const error = await at.open().then(
      () => undefined,
      (thrown) => thrown,
    )
    expect(String(error?.message) + error?.hint).not.toContain(second.key.slice(60, 100))
    return [error?.code, error?.message]
  }
  await chmod(keyFile, 0o640)
  expect(await refusal()).toEqual([
    'config_invalid',
    `Others on this machine may read the key: ${keyFile} has mode 640.`,
  ])
  await chmod(keyFile, 0o600)
  await writeFile(keyFile, second.key)
  expect(await refusal()).toEqual(['config_invalid', 'The key is not the key of the certificate.'])
  await writeFile(keyFile, `${second.key.slice(0, 400)}!${second.key.slice(400)}`)
  expect(await refusal()).toEqual(['config_invalid', 'The file of the key holds no key in PEM form.'])
  await rm(keyFile)
  expect(await refusal()).toEqual([
    'config_invalid',
    `The file of the key, ${keyFile}, cannot be read: ENOENT.`,
  ])
  await at.write(first)
  await writeFile(certFile, 'x'.repeat(300_000))
  expect(await refusal()).toEqual([
    'config_invalid',
    `${certFile} has 300000 bytes, which no certificate has.`,
  ])
  const old = await (await createTestAuthority(Date.now() - 500 * 24 * 60 * 60 * 1000)).sign('localhost')
  await at.write(old)
  expect((await refusal())[1]).toMatch(/^The certificate ended on /)
})

test('a new pair is shown once it has been left alone, and at once where somebody asks', async () => {
  await using at = await setup()
  await using source = await at.open()
  const changed: (readonly string[])[] = []
  source.onChange(({ names }) => void changed.push(names))
  const { certFile, keyFile } = at.files
  await writeFile(certFile, second.cert)
  await at.clock.advance(limits.certificateLookIntervalMs)
  await writeFile(keyFile, second.key)
  await source.reload()
  expect(changed).toEqual([['other.localhost']])
  await source.reload()
  expect(changed.length).toBe(1)
  expect(at.events()).toEqual(['certificate_changed'])
})

test('a broken pair keeps the one before, and says so; the next good one is taken', async () => {
  await using at = await setup()
  await using source = await at.open()
  await writeFile(at.files.certFile, second.cert)
  await source.reload()
  expect(source.certificate.names).toEqual(['localhost', '*.market.localhost'])
  expect(at.log.lines).toMatchObject([
    {
      level: 'error',
      event: 'certificate_refused',
      facts: { error: 'The key is not the key of the certificate.' },
    },
  ])
  await at.write(second)
  await source.reload()
  expect(source.certificate.names).toEqual(['other.localhost'])
})

test('links that are replaced above the files count as a change, without being asked', async () => {
  await using at = await setup()
  const { certFile, keyFile } = at.files
  const link = join(at.dir, 'live')
  const next = await mkdtemp(join(at.dir, 'next-'))
  await rename(certFile, join(at.dir, 'old.pem'))
  await symlink(join(at.dir, 'old.pem'), certFile)
  await using source = await at.open()
  const changed = new Promise<readonly string[]>((resolve) => source.onChange(({ names }) => resolve(names)))
  await writeFile(join(next, 'cert.pem'), second.cert)
  await symlink(join(next, 'cert.pem'), link)
  await rename(link, certFile)
  await writeFile(keyFile, second.key)
  // Two looks: one sees the change, the next that it is over.
  let names: readonly string[] | undefined
  void changed.then((value) => {
    names = value
  })
  while (names === undefined) {
    await at.clock.advance(limits.certificateLookIntervalMs)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(names).toEqual(['other.localhost'])
})
