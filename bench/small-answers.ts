import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findFreePort, findOnPath } from './peers.ts'
import { startProcess } from './processes.ts'
import { type Origin, startOrigin } from './tunnel/setup.ts'

/** The web server behind proxies and tunnels: nginx with a `return`, or Node's own server where there is no nginx. */
export async function startSmallAnswers(dir: string, signal: AbortSignal): Promise<Origin> {
  const command = await findOnPath('nginx')
  if (command === undefined) return startOrigin(signal)
  const folder = join(dir, 'small-answers')
  await mkdir(folder, { recursive: true })
  const port = await findFreePort()
  await writeFile(join(folder, 'nginx.conf'), formatConfig(port))
  const args = ['-p', folder, '-c', 'nginx.conf', '-e', 'error.log']
  return { ...(await startProcess({ command, args, ready: { port } }, signal)), port }
}

const formatConfig = (port: number) => `daemon off; master_process off; pid nginx.pid;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 100000000; keepalive_timeout 65s;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / { default_type text/plain; return 200 "Hello, world!\\n"; }
  }
}
`
