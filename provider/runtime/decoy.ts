import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

/** Doors of this machine that nobody should be able to reach from a sandbox. */
export interface Decoy extends AsyncDisposable {
  /** Of 127.0.0.1. */
  readonly port: number
  /** Of a Unix socket without a file, which belongs to a network as ports do; NUL comes before it. */
  readonly socketName: string
  /** Who came through either. */
  readonly connections: number
}

export async function openDecoy(): Promise<Decoy> {
  let connections = 0
  const count = (socket: Socket) => {
    connections++
    socket.destroy()
  }
  const server = createServer(count).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const socketName = `khachapuri-decoy-${process.pid}-${port}`
  const unixServer = createServer(count)
  if (process.platform === 'linux') await once(unixServer.listen(`\0${socketName}`), 'listening')
  return {
    port,
    socketName,
    get connections() {
      return connections
    },
    async [Symbol.asyncDispose]() {
      server.close()
      if (unixServer.listening) unixServer.close()
      await once(server, 'close')
    },
  }
}

/**
 * How an attack that runs in Node ends: it knocks at both doors, prints the list `succeeded`, as JSON, and exits. It has `net`,
 * `port`, `socketName` and `succeeded`.
 */
export const knockAndTell = `
  const knock = (where, what) => new Promise((resolve) =>
    net.connect(where).on('connect', () => { succeeded.push(what); resolve() }).on('error', resolve))
  const knocks = [
    knock({ port: Number(port), host: '127.0.0.1' }, 'connect'),
    knock({ path: '\\0' + socketName }, 'reach a socket without a file'),
  ]
  Promise.all(knocks).then(() => { console.log(JSON.stringify(succeeded)); process.exit(0) })`
