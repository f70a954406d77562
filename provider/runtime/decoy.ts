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
