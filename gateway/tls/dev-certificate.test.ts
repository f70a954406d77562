import { X509Certificate } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createDevAuthority, signDevCertificate } from './dev-authority.ts'
import { makeDevCertificate } from './dev-certificate.ts'

/** What a client that trusts the authority says of a server with this certificate under this name. */
async function shakeHands(
  pair: { cert: string; key: string },
  ca: string,
  servername: string,
): Promise<string> {
  const server = createServer(pair).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  const outcome = await new Promise<string>((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, ca, servername }, () => {
      socket.destroy()
      resolve('trusted')
    })
    socket.on('error', ({ code, message }: NodeJS.ErrnoException) => resolve(`${code} ${message}`))
  })
  server.close()
  return outcome
}

test('a client that trusts the authority reaches the gateway, its providers and their deployments', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'dev-cert-'))
  const clock = createTestClock(Date.now())
  const made = await makeDevCertificate({ clock }, { dir, domain: 'localhost', providers: ['alice'] })
  expect(made).toMatchObject({
    isAuthorityNew: true,
    hosts: ['localhost', '*.localhost', 'alice.localhost', '*.alice.localhost', '127.0.0.1', '::1'],
  })
  const pair = { cert: await readFile(made.certFile, 'utf8'), key: await readFile(made.keyFile, 'utf8') }
  const ca = await readFile(made.authorityFile, 'utf8')
  for (const host of ['localhost', 'alice.localhost', 'bafy.alice.localhost']) {
    expect(await shakeHands(pair, ca, host)).toBe('trusted')
  }
  expect(await shakeHands(pair, ca, 'example.com')).toMatch('ERR_TLS_CERT_ALTNAME_INVALID')
  const modes = await Promise.all(
    (await readdir(dir))
      .sort()
      .map(async (name) => [name, ((await stat(join(dir, name))).mode & 0o777).toString(8)]),
  )
  expect(modes).toEqual([
    ['ca-key.pem', '600'],
    ['ca.pem', '644'],
    ['cert.pem', '644'],
    ['key.pem', '600'],
  ])

  const again = await makeDevCertificate({ clock }, { dir, domain: 'market.localhost', providers: [] })
  expect(again.isAuthorityNew).toBe(false)
  expect(await readFile(again.authorityFile, 'utf8')).toBe(ca)
  const next = { cert: await readFile(again.certFile, 'utf8'), key: await readFile(again.keyFile, 'utf8') }
  expect(await shakeHands(next, ca, 'anybody.market.localhost')).toBe('trusted')
  await rm(dir, { recursive: true })
})

test('whoever steals the authority can sign for localhost only', async () => {
  const nowMs = Date.now()
  const authority = await createDevAuthority(['localhost'], nowMs)
  const stolen = await signDevCertificate(authority, ['bank.example'], nowMs)
  expect(await shakeHands(stolen, authority.cert, 'bank.example')).toMatch('permitted subtree violation')
  expect(new X509Certificate(authority.cert).ca).toBe(true)
  for (const { cert } of [stolen, authority]) expect(new X509Certificate(cert).serialNumber).toMatch(/^0?1/)
})
