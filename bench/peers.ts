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

/** nginx with one worker as a reverse proxy before `upstream`; undefined where it is not installed. */
export async function startNginx(
  { dir, upstream }: { dir: string; upstream: Target },
  signal: AbortSignal,
): Promise<Peer | undefined> {
  const command = await findOnPath('nginx')
  if (command === undefined) return undefined
  await mkdir(dir, { recursive: true })
  const port = await findFreePort()
  const { host, pathname } = new URL(upstream.url)
  await writeFile(join(dir, 'nginx.conf'), formatNginxConfig({ port, upstreamHost: host }))
  const args = ['-p', dir, '-c', 'nginx.conf', '-e', 'error.log']
  const started = await startProcess({ command, args, ready: { port } }, signal)
  const target: Target = {
    name: 'through nginx',
    url: `http://127.0.0.1:${port}${pathname}`,
    host,
    processes: [{ role: 'proxy', pid: started.pid }, ...upstream.processes],
  }
  return { ...started, target }
}

function formatNginxConfig({ port, upstreamHost }: { port: number; upstreamHost: string }): string {
  return `daemon off; master_process off; pid nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream provider { server ${upstreamHost}; keepalive 64; keepalive_requests 1000000; }
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

async function findOnPath(name: string): Promise<string | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
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
  return port
}

function toPeer(name: string, started: StartedProcess, port: number): Peer {
  const target: Target = {
    name,
    url: `http://127.0.0.1:${port}/`,
    processes: [{ role: 'program', pid: started.pid }],
  }
  return { ...started, target }
}
