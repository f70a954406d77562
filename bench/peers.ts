import { once } from 'node:events'
import { constants } from 'node:fs'
import { access, mkdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { compatibilityDate } from '../provider/runtime/workerd/config.ts'
import type { Target } from './load.ts'
import { type StartedProcess, startProcess } from './processes.ts'

/** A peer that runs, and how it is called. */
export interface Peer extends StartedProcess {
  readonly target: Target
}

/** A server of `bench/peers` in a process of its own. */
export async function startNodePeer(
  { name, file }: { name: string; file: string },
  signal: AbortSignal,
): Promise<Peer> {
  const args = [join(import.meta.dirname, 'peers', file)]
  const started = await startProcess({ command: process.execPath, args }, signal)
  return toPeer(name, started, Number(started.facts['port']))
}

/** A module in workerd as anybody runs it: no sandbox, over TCP, with V8's own settings. */
export async function startBareWorkerd(
  { dir, source }: { dir: string; source: string },
  signal: AbortSignal,
): Promise<Peer> {
  await mkdir(dir, { recursive: true })
  await writeFile(join(dir, 'index.js'), source)
  await writeFile(join(dir, 'config.capnp'), workerdConfig)
  const args = ['serve', join(dir, 'config.capnp'), '--control-fd', '3']
  const started = await startProcess({ command: workerdPath(), args, ready: { fd: 3 } }, signal)
  return toPeer('bare workerd', started, Number(started.facts['port']))
}

const workerdConfig = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .program)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const program :Workerd.Worker = (
  modules = [(name = "index.js", esModule = embed "index.js")],
  compatibilityDate = "${compatibilityDate}",
);
`

/** Where npm put workerd's binary. */
function workerdPath(): string {
  return (createRequire(import.meta.url)('workerd') as { readonly default: string }).default
}

/** A reverse proxy before `upstream`, in a folder of its own. */
interface ProxyPlace {
  readonly dir: string
  readonly upstream: Target
  readonly cores?: string | undefined
}

interface ProxyKind {
  readonly command: string
  readonly configName: string
  readonly format: (facts: { port: number; upstreamHost: string }) => string
  readonly args: (place: { dir: string; config: string }) => readonly string[]
}

/** @returns undefined where it is not installed */
async function startProxy(
  { command: name, configName, format, args }: ProxyKind,
  { dir, upstream, cores }: ProxyPlace,
  signal: AbortSignal,
): Promise<Peer | undefined> {
  const command = await findOnPath(name)
  if (command === undefined) return undefined
  await mkdir(dir, { recursive: true })
  const port = await findFreePort()
  const { host, pathname } = new URL(upstream.url)
  const config = join(dir, configName)
  await writeFile(config, format({ port, upstreamHost: host }))
  const env = { ...process.env, HOME: dir }
  const started = await startProcess(
    { command, args: args({ dir, config }), env, cores, ready: { port } },
    signal,
  )
  const target: Target = {
    name: `through ${name}`,
    url: `http://127.0.0.1:${port}${pathname}`,
    host,
    processes: [{ role: 'proxy', pid: started.pid }, ...upstream.processes],
  }
  return { ...started, target }
}

/** nginx with one worker. */
export const startNginx = (place: ProxyPlace, signal: AbortSignal): Promise<Peer | undefined> =>
  startProxy(
    {
      command: 'nginx',
      configName: 'nginx.conf',
      format: formatNginxConfig,
      args: ({ dir }) => ['-p', dir, '-c', 'nginx.conf', '-e', 'error.log'],
    },
    place,
    signal,
  )

/** HAProxy with one thread. */
export const startHaproxy = (place: ProxyPlace, signal: AbortSignal): Promise<Peer | undefined> =>
  startProxy(
    {
      command: 'haproxy',
      configName: 'haproxy.cfg',
      format: ({ port, upstreamHost }) => `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:${port}
  default_backend out
backend out
  server peer ${upstreamHost}
`,
      args: ({ config }) => ['-db', '-f', config],
    },
    place,
    signal,
  )

/** Caddy on one core. */
export const startCaddy = (place: ProxyPlace, signal: AbortSignal): Promise<Peer | undefined> =>
  startProxy(
    {
      command: 'caddy',
      configName: 'Caddyfile',
      format: ({ port, upstreamHost }) => `{
  admin off
  auto_https off
}
:${port} {
  reverse_proxy ${upstreamHost} {
    transport http {
      keepalive_idle_conns_per_host 512
    }
  }
}
`,
      args: ({ config }) => ['run', '--adapter', 'caddyfile', '--config', config],
    },
    place,
    signal,
  )

function formatNginxConfig({ port, upstreamHost }: { port: number; upstreamHost: string }): string {
  return `daemon off; master_process off; pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream provider { server ${upstreamHost}; keepalive 512; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${port};
    keepalive_requests 1000000;
    location / {
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
    }
  }
}
`
}

/** Servers often lie where not everybody's path leads. */
const serverFolder = '/usr/sbin'

export async function findOnPath(name: string): Promise<string | undefined> {
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), serverFolder]) {
    const path = join(folder, name)
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return path
  }
  return undefined
}

/** nginx does not say which port it got, so it is told one that was free a moment ago. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  // The system may give it again before its first owner listens.
  if (given.has(port)) return findFreePort()
  given.add(port)
  return port
}

const given = new Set<number>()

function toPeer(name: string, started: StartedProcess, port: number): Peer {
  const target: Target = {
    name,
    url: `http://127.0.0.1:${port}/`,
    processes: [{ role: 'program', pid: started.pid }],
  }
  return { ...started, target }
}
