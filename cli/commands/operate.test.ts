import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { connect as connectTls } from 'node:tls'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { marketDomain } from '../../protocol/typed-data.ts'
import { listProcessTree } from '../../test/support/child-process.ts'
import { natsServer, startNats } from '../../test/support/nats.ts'
import { createTestAuthority } from '../../test/support/tls.ts'
import { connectTunnels } from '../../tunnel-client/index.ts'
import { requestHttp } from '../http.ts'
import { createUserInMarket, type UserInMarket } from '../market/testing-user.ts'
import { startServing } from '../testing.ts'

interface Up {
  readonly name: string
  readonly url: string
  readonly address: string
  readonly server: string
  readonly dir: string
  readonly registered: readonly string[]
}

let at: UserInMarket
beforeAll(async () => {
  at = await createUserInMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

const signal = new AbortController().signal
const get = async (url: string) => {
  const { status, body } = await requestHttp({ url: new URL(url), bytesMax: 2 ** 16 }, signal)
  return { status, text: Buffer.from(body).toString() }
}

test('a provider at home: one command makes keys, registers and serves through the tunnel, and comes back as itself', async () => {
  const { user, market } = at
  const line = ['provider', 'up', '--domain', 'carol', '--price', '0.0002', '--json']
  const running = await startServing(user, line)
  const up: Up = JSON.parse(running.first)
  expect(up).toMatchObject({
    name: 'carol',
    url: `http://carol.${market.gateway.domain}/`,
    server: market.gateway.info.tunnel,
    priceUsdc: '200',
    registered: [
      'make a resolver',
      'commit to a name',
      `let ${market.contracts.registry} take 5 USDC`,
      'register carol',
    ],
  })
  expect((await user.run(['resolve', 'carol', '--json'])).json()).toMatchObject({ address: up.address })

  await user.run(['approve', 'carol', '--price', '0.0002', '--budget', '0.01', '--yes'])
  const deployed = await user.run(['deploy', 'app', '--provider', 'carol', '--json'])
  const { urls } = deployed.json<{ urls: Record<string, string> }>()
  // The provider hears of the grant with its next look at the chain.
  let answer = await get(`${urls['carol']}hello`)
  while (answer.text.includes('grant_missing')) answer = await get(`${urls['carol']}hello`)
  expect(answer).toEqual({ status: 200, text: '{"greeting":"Hello, world!"}' })

  for (const file of ['keys/account.json', 'keys/password', 'keys/seal-key.pem']) {
    expect((await stat(join(up.dir, file))).mode & 0o777).toBe(0o600)
  }
  const stopped = await running.stop()
  expect(stopped.exitCode).toBe(0)
  // What was owed was settled on the way out.
  expect(stopped.stderr).not.toContain('settlement_postponed')
  const { grant } = (await user.run(['allowance', 'carol', '--json'])).json<{
    grant: { spentUsdc: string }
  }>()
  expect(grant.spentUsdc).toBe('200')
  const { accounts } = (await user.run(['key', 'list', '--json'])).json<{ accounts: object[] }>()
  expect(accounts).toContainEqual(expect.objectContaining({ account: 'carol', address: up.address }))
  // Who owns the directory takes out what was earned, by the provider's name.
  const withdrawn = await user.run(['withdraw', 'all', '--account', 'carol', '--yes', '--json'])
  expect(withdrawn.json()).toMatchObject({ account: up.address, amountUsdc: '200', balanceUsdc: '0' })

  const again = await startServing(user, [...line, '--metrics-port', '0'])
  const upAgain = JSON.parse(again.first)
  expect(upAgain).toMatchObject({ address: up.address, registered: [] })
  expect((await get(`${urls['carol']}hello`)).status).toBe(200)
  const metrics = await get(`http://127.0.0.1:${upAgain.metricsPort}/metrics`)
  const metricOf = (name: string) =>
    new RegExp(`^khachapuri_provider_${name} (.*)$`, 'm').exec(metrics.text)?.[1]
  expect(metricOf('calls_total\\{outcome="answered"\\}')).toBe('1')
  expect(metricOf('charged_usdc_total')).toBe('0.0002')
  expect([metricOf('unsettled_usdc'), metricOf('unsettled_alarms')]).toEqual(['0.0002', '0'])
  expect([metricOf('tunnel_sockets'), metricOf('chain_lost_seconds')]).not.toContain(undefined)
  const shown = (await user.run(['provider', 'status', '--domain', 'carol', '--json'])).json()
  expect(shown).toMatchObject({
    ...{ name: 'carol', unsettledUsdc: '200', alarms: [], programsRunning: 1 },
    tunnel: { state: 'connected' },
  })
  expect((await user.run(['provider', 'status', '--domain', 'carol'])).stdout).toContain('0.0002 USDC for')
  await again.stop()
  expect(await user.run(['provider', 'status', '--domain', 'carol'])).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('No provider runs in'),
  })

  const away = await user.run(['deploy', 'app', '--provider', 'carol', '--json'])
  expect(away.exitCode).toBe(0)
  expect(away.json()).toMatchObject({ providers: [{ name: 'carol', checked: false, grant: null }] })
  expect(away.stderr).toContain('It is deployed to all the same, unchecked.')
})

test('a provider with an address listens there, and its resolver says so', async () => {
  const line = [...'provider up --domain dave --port 0 --egress public --region eu-central --json'.split(' ')]
  const running = await startServing(at.user, line)
  const up: Up = JSON.parse(running.first)
  expect(up.server).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  expect(JSON.parse((await get(`${up.server}/_/info`)).text)).toMatchObject({
    name: 'dave',
    address: up.address,
    egress: 'public',
  })
  // The gateway lists it before anybody has called it, and no more once it has stopped.
  const listed = async () => {
    const { providers } = JSON.parse((await get(`${at.market.gateway.url}_/providers`)).text)
    return providers.find(({ name }: { name: string }) => name === 'dave')
  }
  await expect.poll(listed, { timeout: 20_000 }).toMatchObject({
    ...{ address: up.address, isLive: true, isTunnelled: false, region: 'eu-central', egress: 'public' },
    endpoints: [up.url, up.server],
  })
  expect(JSON.parse((await get(`${up.url}_/info`)).text)).toMatchObject({ name: 'dave' })

  // It shows who it is and that it is alive, signed, and the command line checks both.
  const pinged = await at.user.run(['ping', 'dave', '--json'])
  expect(pinged.json()).toMatchObject({ name: 'dave', address: up.address, alive: true })
  expect((await at.user.run(['ping', 'dave'])).stdout).toMatch(/^dave is alive\.\n.*, signed\n/)
  const shown = await at.user.run(['did', 'dave', '--json'])
  const { host } = new URL(up.url)
  expect(shown.json()).toMatchObject({
    address: up.address,
    document: { id: `did:web:${host.replace(':', '%3A')}`, proof: { endpoint: up.server } },
  })
  expect((await at.user.run(['did', 'dave'])).stdout).toContain(`KhachapuriEndpoint ${up.server}`)
  const direct = JSON.parse((await get(`${up.server}/.well-known/did.json`)).text)
  expect(direct.id).toBe(`did:web:${new URL(up.server).host.replace(':', '%3A')}`)
  await running.stop()
  await expect.poll(listed, { timeout: 20_000 }).toBe(undefined)
  const { promise: refused, resolve } = Promise.withResolvers<string | undefined>()
  connect(Number(new URL(up.server).port), '127.0.0.1').on('error', (error: NodeJS.ErrnoException) =>
    resolve(error.code),
  )
  expect(await refused).toBe('ECONNREFUSED')
})

test.each([
  ['--region', 'eu/central', 'is not a region'],
  ['--announce', 'gateway.example', 'is not a gateway for --announce'],
])('a provider that is told %s %s does not start', async (...[flag, value, message]) => {
  const { exitCode, stderr } = await at.user.run(['provider', 'up', '--domain', 'erin', flag, value])
  expect(exitCode).toBe(2)
  expect(stderr).toContain(message)
})

test('what programs may reach is one of three words', async () => {
  const line = ['provider', 'up', '--domain', 'erin', '--egress', 'everything']
  const { exitCode, stderr } = await at.user.run(line)
  expect(exitCode).toBe(2)
  expect(stderr).toContain('Use one of: none, listed, public.')
})

test('a provider that lies on purpose is caught by deploy', async () => {
  const running = await startServing(at.user, ['provider', 'up', '--domain', 'liar', '--fault', 'wrong-id'])
  const { exitCode, stderr } = await at.user.run(['deploy', 'app', '--provider', 'liar'])
  expect(exitCode).toBe(1)
  expect(stderr).toContain('liar is not telling the truth')
  await running.stop()
})

test('a second gateway joins the market of its directory, and finds its providers', async () => {
  const running = await startServing(at.user, ['gateway', 'up', '--port', '0', '--allow-private', '--json'])
  const { url, domain, escrow } = JSON.parse(running.first)
  expect(escrow).toBe(at.market.contracts.escrow)
  expect(JSON.parse((await get(`${url}_/info`)).text)).toMatchObject({ domain, escrow })
  expect(JSON.parse((await get(`http://alice.${domain}/_/info`)).text)).toMatchObject({ name: 'alice' })
  expect((await running.stop()).exitCode).toBe(0)
})

test('with workers a call reaches a tunnel whichever process it came to, and what they did is told as one', async () => {
  const line = [
    'gateway',
    'up',
    '--port',
    '0',
    '--workers',
    '3',
    '--metrics-port',
    '0',
    '--allow-private',
    '--config',
    'workers.json',
    '--json',
  ]
  // This machine counts, too.
  const quota = { exempt: [], client: '50000/30d' }
  await writeFile(join(at.user.dir, 'workers.json'), JSON.stringify({ limits: quota }))
  const running = await startServing(at.user, line)
  const { url, domain, tunnel, port, metricsPort } = JSON.parse(running.first)
  const home = await startServing(at.user, [
    'provider',
    'up',
    '--domain',
    'grace',
    '--tunnel',
    tunnel,
    '--json',
  ])
  expect(JSON.parse(home.first)).toMatchObject({ name: 'grace', server: tunnel })

  let asked = 0
  /** On a connection of its own, which the kernel gives to any of the processes. */
  const ask = async (host: string, path: string) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, agent: false, headers: { host } })
    const [response] = (await once(request.end(), 'response')) as [IncomingMessage]
    asked++
    const left = Number(/"client";r=(\d+)/.exec(String(response.headers['ratelimit']))?.[1])
    return { status: response.statusCode, text: await text(response), left }
  }
  for (let n = 0; n < 40; n++) {
    const answer = await ask(`grace.${domain}`, '/_/info')
    expect([answer.status, JSON.parse(answer.text).name]).toEqual([200, 'grace'])
  }
  for (let n = 0; n < 10; n++)
    expect((await ask(domain, '/_/providers')).text).toContain('"isTunnelled":true')
  const metrics = (await get(`http://127.0.0.1:${metricsPort}/metrics`)).text
  expect(metrics).toContain('requests_total{target="provider",status="2xx"} 40')
  expect(metrics).toContain('khachapuri_gateway_ready 1')

  // The dashboard counts the calls of all.
  const counted = async () => {
    const { providers } = JSON.parse((await ask(domain, '/_/dashboard')).text)
    return providers.find(({ name }: { name: string }) => name === 'grace')?.answered
  }
  await expect.poll(counted).toBe(40)

  // Whichever process is asked, it has counted what the others took.
  const uncounted = async () => {
    const { left } = await ask(`grace.${domain}`, '/_/info')
    return asked - (50_000 - left)
  }
  for (let n = 0; n < 6; n++) await expect.poll(uncounted, { interval: 300 }).toBeLessThanOrEqual(0)

  // A swarm is run by any of the processes: each hears of the provider, whichever it announced itself to.
  const place = ['--gateway', url, '--rpc', at.market.chain.rpcUrl.href, '--json']
  const member = await startServing(at.user, [
    'provider',
    'up',
    '--domain',
    'heidi',
    '--tunnel',
    tunnel,
    ...place,
  ])
  const env = { KHACHAPURI_PRIVATE_KEY: at.market.accounts.payer.privateKey }
  const terms = ['--price', '0.001', '--budget', '0.1', '--yes']
  expect((await at.user.run(['approve', 'heidi', ...terms, ...place], { env })).exitCode).toBe(0)
  const deployed = await at.user.run(
    ['deploy', 'app', '--public', '--provider', 'heidi', '--calls-per-minute', 'none', ...place],
    { env },
  )
  expect(deployed.exitCode === 0 ? '' : deployed.stdout).toBe('')
  const { cid } = deployed.json<{ cid: string }>()
  const askSwarm = async () => {
    const headers = { host: `any.${domain}`, 'khachapuri-swarm': 'n=1, k=1, timeout=20' }
    const request = httpRequest({ host: '127.0.0.1', port, path: `/${cid}/`, agent: false, headers })
    const [response] = (await once(request.end(), 'response')) as [IncomingMessage]
    return [response.statusCode, response.headers['khachapuri-verdict'], await text(response)]
  }
  const told = () => Promise.all(Array.from({ length: 12 }, askSwarm))
  await expect
    .poll(async () => new Set((await told()).map((one) => JSON.stringify(one.slice(0, 2)))), {
      timeout: 60_000,
    })
    .toEqual(new Set([JSON.stringify([200, 'all_equal'])]))
  await member.stop()

  // Calls to a process that is killed break off; whoever calls again finds the others, and soon its successor.
  const workers = await findWorkers()
  expect(workers).toHaveLength(2)
  process.kill(workers[0]!, 'SIGKILL')
  await expect.poll(findWorkers).not.toContain(workers[0])
  await expect.poll(findWorkers).toHaveLength(2)
  const status = () =>
    ask(`grace.${domain}`, '/_/info').then(
      ({ status }) => status,
      () => undefined,
    )
  await expect.poll(async () => Promise.all(Array.from({ length: 20 }, status))).toEqual(Array(20).fill(200))
  await home.stop()
  expect((await running.stop()).exitCode).toBe(0)
  expect(await findWorkers()).toEqual([])
})

test('with workers and TLS all processes show one certificate, the newest, and take up sessions of each other', async () => {
  const authority = await createTestAuthority()
  const file = (name: string) => join(at.user.dir, name)
  const show = async ({ cert, key }: { cert: string; key: string }) => {
    await writeFile(file('key.pem'), key, { mode: 0o600 })
    await writeFile(file('cert.pem'), cert)
  }
  await show(await authority.sign('localhost', 'any.localhost', 'alice.localhost'))
  const reloads = new EventTarget()
  const flags =
    '--port 0 --http-port 0 --workers 3 --tls-cert cert.pem --tls-key key.pem --allow-private --json'
  const running = await startServing(at.user, ['gateway', 'up', ...flags.split(' ')], { reloads })
  const { url, domain, port, httpPort, tunnel } = JSON.parse(running.first)
  expect([url, tunnel]).toEqual([`https://localhost:${port}/`, `wss://localhost:${port}/_/tunnel`])

  /** On a connection of its own. */
  const ask = async (host: string, path: string) => {
    const place = { host: '127.0.0.1', port, ca: authority.ca, servername: 'alice.localhost' }
    const request = httpsRequest({ ...place, path, agent: false, headers: { host } })
    const [response] = (await once(request.end(), 'response')) as [IncomingMessage]
    return { status: response.statusCode, text: await text(response) }
  }
  const shakeHands = async (session?: Buffer) => {
    const options = { host: '127.0.0.1', port, ca: authority.ca, servername: 'alice.localhost' }
    const socket = connectTls({ ...options, ALPNProtocols: ['http/1.1'], ...(session && { session }) })
    const tickets = once(socket, 'session')
    // Where it breaks off, the next line says so.
    tickets.catch(() => undefined)
    await once(socket, 'secureConnect')
    const facts = { isReused: socket.isSessionReused(), shown: socket.getPeerX509Certificate()?.serialNumber }
    socket.write(`GET /_/info HTTP/1.1\r\nhost: alice.${domain}\r\nconnection: close\r\n\r\n`)
    expect(await text(socket)).toContain('HTTP/1.1 200')
    // A session that is taken up may come without another ticket.
    return { ticket: session ?? ((await tickets) as [Buffer])[0], ...facts }
  }
  const { ticket } = await shakeHands()
  for (let n = 0; n < 12; n++) expect((await shakeHands(ticket)).isReused).toBe(true)
  for (let n = 0; n < 6; n++) {
    expect(JSON.parse((await ask(`alice.${domain}`, '/_/info')).text)).toMatchObject({ name: 'alice' })
    expect(JSON.parse((await ask(domain, '/_/info')).text)).toMatchObject({ domain, tunnel })
  }
  const plain = httpRequest({ host: '127.0.0.1', port: httpPort, headers: { host: domain }, agent: false })
  const [led] = (await once(plain.end(), 'response')) as [IncomingMessage]
  expect([led.statusCode, led.headers.location]).toEqual([308, url])

  const next = await authority.sign('localhost', 'any.localhost', 'alice.localhost')
  await show(next)
  reloads.dispatchEvent(new Event('reload'))
  const { serialNumber } = new X509Certificate(next.cert)
  const allShown = async () => {
    const shown = await Promise.all(Array.from({ length: 12 }, () => shakeHands()))
    return new Set(shown.map((one) => one.shown))
  }
  await expect.poll(allShown).toEqual(new Set([serialNumber]))
  // One that comes later has it from the start.
  const [killed = 0] = await findWorkers()
  process.kill(killed, 'SIGKILL')
  await expect.poll(findWorkers).not.toContain(killed)
  await expect.poll(findWorkers).toHaveLength(2)
  await expect.poll(() => allShown().catch(() => undefined)).toEqual(new Set([serialNumber]))
  expect((await running.stop()).exitCode).toBe(0)
})

test.skipIf(!natsServer)(
  'with workers in a cluster a call takes one hop to the process that has the tunnel, and rules hold in all processes',
  async () => {
    await using parts = new AsyncDisposableStack()
    const nats = parts.use(await startNats())
    const settings = {
      ...{ port: 0, allowPrivate: true },
      fleet: { cluster: [nats.url], homes: 1 },
      // This machine counts, too.
      limits: { exempt: [], client: '50000/30d' },
    }
    const write = (name: string, more: object = {}) =>
      writeFile(join(at.user.dir, name), JSON.stringify({ ...settings, ...more }))
    await write('one.json')
    await write('two.json', { workers: 2 })
    const reloads = new EventTarget()
    let started = 0
    const start = async (name: string) => {
      const dir = join(at.user.dir, `gateway-${started++}`)
      const line = ['gateway', 'up', '--config', name, '--dir', dir, '--json']
      const running = await startServing(at.user, line, { reloads })
      parts.defer(async () => void (await running.stop()))
      return JSON.parse(running.first) as { domain: string; tunnel: string; port: number }
    }
    const [home, second, third] = [await start('two.json'), await start('two.json'), await start('one.json')]
    const vias: string[] = []
    const tunnel = parts.use(
      connectTunnels(
        { clock: systemClock, random: Math.random, log: createTestLog(), proxyEnv: {} },
        {
          gatewayUrl: home.tunnel,
          name: 'bob',
          account: privateKeyToAccount(at.market.accounts.bob.privateKey),
          domain: marketDomain({ chainId: 31_337, escrow: at.market.contracts.escrow }),
        },
        (request, response) => {
          vias.push(String(request.headers['via']))
          response.end('served')
        },
        signal,
      ),
    )
    await tunnel.connected

    let asked = 0
    /** On connections of their own, so that each process gets some. */
    const ask = async ({ port, domain }: typeof home) => {
      const headers = { host: `bob.${domain}` }
      const request = httpRequest({ host: '127.0.0.1', port, path: '/', agent: false, headers })
      const [response] = (await once(request.end(), 'response')) as [IncomingMessage]
      asked++
      response.resume()
      const left = Number(/"client";r=(\d+)/.exec(String(response.headers['ratelimit']))?.[1])
      return { status: response.statusCode, left }
    }
    const askMany = async (gateway: typeof home) => {
      const answers = await Promise.all(Array.from({ length: 16 }, () => ask(gateway)))
      return [...new Set(answers.map(({ status }) => status))]
    }
    for (const gateway of [home, second, third]) {
      await expect.poll(() => askMany(gateway)).toEqual([200])
      vias.length = 0
      expect(await askMany(gateway)).toEqual([200])
      expect([...new Set(vias.map((via) => via.split(',').length))]).toEqual([gateway === home ? 1 : 2])
    }

    // Whichever process of whichever gateway is asked, it has counted what all others took, once. The provider asks, too.
    for (const gateway of [home, second, third]) {
      const uncounted = async () => {
        const { left } = await ask(gateway)
        return asked - (50_000 - left)
      }
      // Twice a second a gateway tells the others.
      await expect.poll(uncounted, { interval: 700 }).toBeLessThanOrEqual(0)
      expect(await uncounted()).toBeGreaterThan(-asked / 2)
    }

    // What one gateway denies is denied by all processes of the others.
    await write('one.json', { deny: { providers: ['bob'] } })
    reloads.dispatchEvent(new Event('reload'))
    for (const gateway of [home, second, third]) await expect.poll(() => askMany(gateway)).toEqual([451])
    await write('one.json')
    reloads.dispatchEvent(new Event('reload'))
    for (const gateway of [home, second, third]) await expect.poll(() => askMany(gateway)).toEqual([200])

    // What had a tunnel at a process that is killed finds another one.
    for (const pid of await findWorkers()) process.kill(pid, 'SIGKILL')
    const askSafely = (gateway: typeof home) => askMany(gateway).catch(() => [])
    for (const gateway of [home, second, third]) await expect.poll(() => askSafely(gateway)).toEqual([200])
  },
)

/** Further processes of gateways that this one has started. */
async function findWorkers(): Promise<number[]> {
  const found: number[] = []
  for (const pid of await listProcessTree(process.pid)) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (line.includes('workers/worker.ts')) found.push(pid)
  }
  return found
}

test('a gateway reads its file again when it is told to, and keeps what held where that is broken', async () => {
  const path = join(at.user.dir, 'gateway.json')
  const write = (settings: unknown) =>
    writeFile(path, JSON.stringify({ port: 0, allowPrivate: true, ...Object(settings) }))
  await write({})
  const reloads = new EventTarget()
  const running = await startServing(at.user, ['gateway', 'up', '--config', 'gateway.json', '--json'], {
    reloads,
  })
  const { domain } = JSON.parse(running.first)
  const status = async () => (await get(`http://alice.${domain}/_/info`)).status
  expect(await status()).toBe(200)
  await write({ deny: { providers: ['alice'] } })
  reloads.dispatchEvent(new Event('reload'))
  await expect.poll(status).toBe(451)
  await write({ deny: { providers: [], cids: ['nonsense'] } })
  reloads.dispatchEvent(new Event('reload'))
  await write({ abuse: { contact: 'mailto:abuse@market.example' }, deny: { providers: ['alice'] } })
  reloads.dispatchEvent(new Event('reload'))
  await expect
    .poll(async () => (await get(`http://${domain}/_/abuse`)).text)
    .toContain('abuse@market.example')
  expect(await status()).toBe(451)
  expect((await running.stop()).exitCode).toBe(0)
})

test.each([
  ['no name', 'provider up', 'usage_invalid'],
  ['a name that is none', 'provider up --domain -x-', 'usage_invalid'],
  ['a name with a dot', 'provider up --domain a.b', 'name_malformed'],
  ["somebody else's name", 'provider up --domain alice', 'name_taken'],
  ['two ways to be reached', 'provider up --domain eve --tunnel ws://localhost:1/ --port 0', 'usage_invalid'],
  ['a tunnel that is no WebSocket', 'provider up --domain eve --tunnel http://localhost:1/', 'usage_invalid'],
  ['an unknown fault', 'provider up --domain eve --fault slowness', 'config_invalid'],
  [
    'a gateway without contracts',
    'gateway up --rpc http://127.0.0.1:1 --chain-id 1 --port 0',
    'usage_invalid',
  ],
  [
    'a gateway with half an address',
    'gateway up --rpc http://127.0.0.1:1 --chain-id 1 --escrow 0x12',
    'usage_invalid',
  ],
])('%s is refused', async (_what, line, code) => {
  const { json } = await at.user.run([...line.split(' '), '--json'])
  expect(json()).toMatchObject({ code })
})

test('a name that cannot be had leaves no account behind', async () => {
  for (const [name, code] of [
    ['alice', 'name_taken'],
    ['a', 'name_malformed'],
  ] as const) {
    const dir = join(at.user.dir, 'never', name)
    const { json } = await at.user.run(['provider', 'up', '--domain', name, '--dir', dir, '--json'])
    expect(json()).toMatchObject({ code })
    await expect(stat(dir)).rejects.toMatchObject({ code: 'ENOENT' })
  }
})

test('a taken port is said by a provider and by a gateway', async () => {
  const port = String(at.market.gateway.port)
  for (const line of [
    ['provider', 'up', '--domain', 'eve'],
    ['gateway', 'up'],
  ]) {
    const { exitCode, json } = await at.user.run([...line, '--port', port, '--json'])
    expect(exitCode).toBe(1)
    expect(json()).toMatchObject({ code: 'port_taken', hint: expect.any(String) })
  }
})

test('as a process it ends well on a signal, and no key is in its arguments, its answer or its log', async () => {
  const home = join(at.user.dir, '.home')
  const bin = join(import.meta.dirname, '..', 'bin.mjs')
  const child = spawn(process.execPath, [bin, 'provider', 'up', '--domain', 'quiet', '--verbose'], {
    cwd: at.user.dir,
    env: {
      PATH: process.env['PATH'],
      KHACHAPURI_HOME: home,
      KHACHAPURI_PRIVATE_KEY: at.market.accounts.bob.privateKey,
    },
  })
  let output = ''
  const { promise: ready, resolve } = Promise.withResolvers<void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk
      if (output.includes('Ctrl-C stops')) resolve()
    })
  }
  await ready
  const argv = await readFile(`/proc/${child.pid}/cmdline`, 'utf8')
  child.kill('SIGTERM')
  const [exitCode] = await once(child, 'close')
  expect(exitCode).toBe(0)
  expect(output).toContain('quiet is up.')
  expect(output).toContain('"event":"provider_stopped"')
  for (const secret of [at.market.accounts.bob.privateKey.slice(2), 'PRIVATE KEY']) {
    expect(output + argv).not.toContain(secret)
  }
})
