import { access, constants, mkdir, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { findFreePort } from '../peers.ts'
import { type StartedProcess, startProcess } from '../processes.ts'
import { buildGoPeer, type GoPeer } from './go-peers.ts'
import type { TunnelWay, WayOptions } from './setup.ts'

/** Tunnels of others, each a server and a client in processes of their own; one core each, as ours has. */

export interface PeerWays extends AsyncDisposable {
  readonly ways: readonly TunnelWay[]
  /** Sentences. */
  readonly skipped: readonly string[]
}

const frp: GoPeer = {
  module: 'github.com/fatedier/frp',
  version: 'v0.61.1',
  commands: ['cmd/frps', 'cmd/frpc'],
}
const chisel: GoPeer = { module: 'github.com/jpillora/chisel', version: 'v1.10.1', commands: ['.'] }
const piko: GoPeer = { module: 'github.com/andydunstall/piko', version: 'v0.9.0', commands: ['.'] }
const env = { ...process.env, GOMAXPROCS: '1' }

export async function startPeerWays(
  options: WayOptions & { readonly dir: string; readonly only?: 'frp' | 'chisel' },
  signal: AbortSignal,
): Promise<PeerWays> {
  const isWanted = (name: string) => options.only === undefined || options.only === name
  await using starting = new AsyncDisposableStack()
  const ways: TunnelWay[] = []
  const skipped = [
    'localtunnel: its server is in no registry in a form that runs on a Node of today',
    ...((await isOnPath('sshd'))
      ? ['ssh -R: it needs an account to log in to']
      : ['ssh -R: sshd is not installed here']),
  ]
  const frpBuilt = await buildGoPeer(frp, signal)
  if ('skipped' in frpBuilt) skipped.push(frpBuilt.skipped)
  else if (isWanted('frp')) {
    // Over one line there is one server at a time.
    for (const kind of options.relay ? (['tcp'] as const) : (['http', 'tcp'] as const))
      ways.push(starting.use(await startFrp(kind, { ...options, path: frpBuilt.path }, signal)))
  }
  const chiselBuilt = await buildGoPeer(chisel, signal)
  if ('skipped' in chiselBuilt) skipped.push(chiselBuilt.skipped)
  else if (isWanted('chisel'))
    ways.push(starting.use(await startChisel({ ...options, path: chiselBuilt.path }, signal)))
  const pikoBuilt = await buildGoPeer(piko, signal)
  skipped.push(
    'skipped' in pikoBuilt ? pikoBuilt.skipped : `piko ${piko.version}: built, and not measured yet`,
  )
  const parts = starting.move()
  return {
    ways,
    skipped: skipped.map((what) => `Skipped: ${what}.`),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

interface PeerOptions extends WayOptions {
  readonly dir: string
  /** Of its commands. */
  readonly path: string
}

async function startFrp(
  kind: 'http' | 'tcp',
  { origin, relay, dir, path }: PeerOptions,
  signal: AbortSignal,
): Promise<TunnelWay> {
  await using starting = new AsyncDisposableStack()
  const [bindPort, publicPort] = [await findFreePort(), await findFreePort()]
  const folder = join(dir, `frp-${kind}`)
  await mkdir(folder, { recursive: true })
  const serverFile = join(folder, 'frps.toml')
  const clientFile = join(folder, 'frpc.toml')
  const vhost = kind === 'http' ? `vhostHTTPPort = ${publicPort}\n` : ''
  await writeFile(
    serverFile,
    `bindAddr = "127.0.0.1"\nproxyBindAddr = "127.0.0.1"\nbindPort = ${bindPort}\n${vhost}log.level = "error"\n`,
  )
  const place = kind === 'http' ? 'customDomains = ["frp.test"]' : `remotePort = ${publicPort}`
  const server = starting.use(
    await startProcess(
      { command: join(path, 'frps'), args: ['-c', serverFile], env, ready: { port: bindPort } },
      signal,
    ),
  )
  await relay?.leadTo(bindPort)
  await writeFile(
    clientFile,
    `serverAddr = "127.0.0.1"\nserverPort = ${relay?.port ?? bindPort}\nlog.level = "error"\ntransport.poolCount = 5\n\n[[proxies]]\nname = "bench"\ntype = "${kind}"\nlocalPort = ${origin.port}\n${place}\n`,
  )
  const ready = { port: publicPort }
  const client = starting.use(
    await startProcess({ command: join(path, 'frpc'), args: ['-c', clientFile], env, ready }, signal),
  )
  return toWay({
    name: `frp ${kind} ${frp.version}`,
    publicPort,
    server,
    client,
    origin,
    starting,
    host: kind === 'http' ? 'frp.test' : undefined,
  })
}

async function startChisel({ origin, relay, path }: PeerOptions, signal: AbortSignal): Promise<TunnelWay> {
  await using starting = new AsyncDisposableStack()
  const [bindPort, publicPort] = [await findFreePort(), await findFreePort()]
  const command = join(path, 'chisel')
  const serverArgs = ['server', '--host', '127.0.0.1', '--port', String(bindPort), '--reverse']
  const server = starting.use(
    await startProcess({ command, args: serverArgs, env, ready: { port: bindPort } }, signal),
  )
  await relay?.leadTo(bindPort)
  const clientArgs = [
    'client',
    `http://127.0.0.1:${relay?.port ?? bindPort}`,
    `R:127.0.0.1:${publicPort}:127.0.0.1:${origin.port}`,
  ]
  const client = starting.use(
    await startProcess({ command, args: clientArgs, env, ready: { port: publicPort } }, signal),
  )
  return toWay({
    name: `chisel ${chisel.version}`,
    publicPort,
    server,
    client,
    origin,
    starting,
    host: undefined,
  })
}

interface PeerParts {
  readonly name: string
  readonly publicPort: number
  readonly host: string | undefined
  readonly server: StartedProcess
  readonly client: StartedProcess
  readonly origin: WayOptions['origin']
  readonly starting: AsyncDisposableStack
}

function toWay({ name, publicPort, host, server, client, origin, starting }: PeerParts): TunnelWay {
  const parts = starting.move()
  return {
    target: {
      name,
      url: `http://127.0.0.1:${publicPort}/`,
      ...(host !== undefined && { host }),
      processes: [
        { role: 'gateway', pid: server.pid },
        { role: 'client', pid: client.pid },
        { role: 'web server', pid: origin.pid },
      ],
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

async function isOnPath(name: string): Promise<boolean> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const isThere = await access(join(folder, name), constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return true
  }
  return false
}
