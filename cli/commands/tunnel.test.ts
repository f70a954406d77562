import { once } from 'node:events'
import { cp } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { listProcessTree, startProcess } from '../../test/support/child-process.ts'
import { mayUnshareNetwork, onLoopbackOnly } from '../../test/support/namespaces.ts'
import { requestHttp } from '../http.ts'
import { createTestMarket, type TestMarket } from '../market/testing-market.ts'
import { startServing } from '../testing.ts'

let market: TestMarket
let web: Server
let webPort: number
const waiting = new Set<() => void>()
beforeAll(async () => {
  market = await createTestMarket()
  web = createServer((request, response) => {
    if (request.url !== '/slow') return void response.end(`${request.method} ${request.url}`)
    response.write('begun ')
    waiting.add(() => response.end('done'))
  }).listen(0, '127.0.0.1')
  await once(web, 'listening')
  webPort = (web.address() as AddressInfo).port
})
afterAll(async () => {
  web.close()
  web.closeAllConnections()
  await market[Symbol.asyncDispose]()
})

const signal = new AbortController().signal
const call = async (url: string, path = '') => {
  const { status, body } = await requestHttp({ url: new URL(path, url), bytesMax: 2 ** 16 }, signal)
  return { status, text: Buffer.from(body).toString() }
}
const eventsOf = (stdout: string) =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string; url: string; [fact: string]: unknown })

test('one command registers a name and puts a web server on a public URL, and Ctrl-C lets requests end', async () => {
  const { user } = market
  const running = await startServing(user, [
    'tunnel',
    '--to',
    String(webPort),
    '--domain',
    'laptop',
    '--json',
  ])
  const [connected] = eventsOf(running.first)
  const url = `http://laptop.${market.gateway.domain}/`
  expect(connected).toMatchObject({ event: 'connected', url, requests: 0 })
  expect(await call(url, '/a?b=1')).toEqual({ status: 200, text: 'GET /a?b=1' })
  const slow = call(url, '/slow')
  while (waiting.size === 0) await new Promise((resolve) => setImmediate(resolve))
  const stopped = running.stop()
  for (const finish of waiting) finish()
  expect(await slow).toEqual({ status: 200, text: 'begun done' })
  const { exitCode, stdout, stderr } = await stopped
  expect(exitCode).toBe(0)
  expect(stderr).toContain('register laptop')
  const events = eventsOf(stdout)
  expect(events.map(({ event }) => event)).toEqual(['connected', 'request', 'request', 'closed'])
  expect(events[1]).toMatchObject({ method: 'GET', path: '/a', status: 200, code: null })
  expect(events[3]).toMatchObject({ requests: 2, sockets: 0 })
  expect(events[3]?.['sentBytes']).toBeGreaterThan(100)
  expect((await call(url)).status).toBe(502)
})

test('people see where it is, each request, and a web server that is down as what it is', async () => {
  // Nobody is ever there.
  const service = 'http://localhost:1'
  const line = ['tunnel', '--to', service, '--domain', 'laptop', '--account', 'developer']
  const running = await startServing(market.user, line)
  const url = `http://laptop.${market.gateway.domain}/`
  expect(running.first).toContain(`${url}\n  to       ${service}\n`)
  const answer = await call(url, '/x?secret=1')
  expect([answer.status, JSON.parse(answer.text).code]).toEqual([502, 'local_service_down'])
  const { exitCode, stderr } = await running.stop()
  expect(exitCode).toBe(0)
  expect(stderr).toContain(`${service} does not answer (ECONNREFUSED)`)
  expect(stderr).toMatch(/^GET \/x {2}502 {2}\d+ ms/m)
})

test('a name of somebody else, no name, and what is no web server are refused before anything is connected', async () => {
  const { user } = market
  const taken = await user.run(['tunnel', '--to', '3000', '--domain', 'alice', '--json'])
  expect([taken.exitCode, taken.json()]).toMatchObject([1, { code: 'name_taken' }])
  const stranger = await user.run(
    ['tunnel', '--to', '3000', '--domain', 'alice', '--json', '--gateway', market.gateway.url.href],
    { env: { KHACHAPURI_PRIVATE_KEY: `0x${'11'.repeat(32)}` } },
  )
  // Without a chain the gateway is who says so.
  expect([stranger.exitCode, stranger.stdout]).toEqual([1, expect.stringContaining('"tunnel_refused"')])
  for (const to of ['70000000', 'ftp://x', 'http://localhost:3000/path', 'http://a:b@localhost:1']) {
    expect((await user.run(['tunnel', '--to', to, '--domain', 'x'])).exitCode).toBe(2)
  }
  for (const argv of [
    ['--to', '3000'],
    ['--domain', 'laptop'],
    ['--to', '1', '--domain', 'x', '--sockets', '9'],
  ]) {
    expect((await user.run(['tunnel', ...argv])).exitCode).toBe(2)
  }
})

const mayUnshare = await mayUnshareNetwork()

test.skipIf(!mayUnshare)(
  'from a laptop behind a router that lets nothing in to a public URL (skipped where networks may not be unshared)',
  async () => {
    const { gateway, user } = market
    const way = join(user.dir, 'router')
    const router = createTcpServer((inside) => {
      const outside = connect(gateway.port, '127.0.0.1')
      inside.pipe(outside).pipe(inside)
      inside.on('error', () => outside.destroy())
      outside.on('error', () => inside.destroy())
    }).listen(way)
    await once(router, 'listening')
    const script = join(import.meta.dirname, '../../test/support/behind-nat.ts')
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', script]
    const words = ['--domain', 'laptop', '--gateway', gateway.url.href, '--json']
    const home = join(user.dir, '.laptop')
    await cp(join(user.dir, '.khachapuri/keystore'), join(home, 'keys'), { recursive: true })
    const laptop = await startProcess(
      onLoopbackOnly([...node, String(gateway.port), way, ...words, '--account', 'developer']),
      { cwd: home, env: { KHACHAPURI_HOME: home, KHACHAPURI_PASSWORD: 'worthless' } },
    )
    // The shell before it passes no signals on.
    const interrupt = async () => {
      for (const pid of (await listProcessTree(laptop.pid)).slice(1)) process.kill(pid, 'SIGTERM')
      return laptop.ended
    }
    onTestFinished(async () => void (await interrupt()))
    await laptop.waitFor('"connected"')
    const [event] = eventsOf(laptop.stdout())
    expect(await call(event?.url ?? '', '/here')).toEqual({
      status: 200,
      text: 'hello from behind the router, /here',
    })
    expect(await interrupt()).toBe(0)
    router.close()
  },
)
