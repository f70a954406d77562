import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'

const lowest = 10_000

/**
 * A port for what must be told its port before it listens, or goes and comes back. The kernel never chooses it for anybody:
 * where port 0 led to may be somebody else's as soon as its server has gone.
 */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  const range = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
  const end = Number(range.split(/\s+/)[0])
  for (;;) {
    const port = randomInt(lowest, end)
    const server = createServer().listen(port, host)
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    )
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

/** The same at a loopback address of its own, where nothing else that runs now will take it. */
export async function freePlace(): Promise<{ readonly host: string; readonly port: number }> {
  const host = `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`
  return { host, port: await freePort(host) }
}
