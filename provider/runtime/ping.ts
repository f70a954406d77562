import { createConnection } from 'node:net'
import { createHttpPool } from '../../protocol/http/h1-client.ts'
import { limits } from '../../protocol/limits.ts'

/** Whether a program answers `GET /`, whatever it answers, within a moment. */
export async function ping(socketPath: string): Promise<boolean> {
  using pool = createHttpPool({
    connect: () => createConnection(socketPath),
    connectionsMax: 1,
    firstByteTimeoutMs: limits.programPingTimeoutMs,
  })
  return await new Promise((resolve) => {
    pool.send(
      { method: 'GET', target: '/', rawHeaders: ['host', 'ping'] },
      {
        onHead: () => resolve(true),
        onData: () => undefined,
        onEnd: () => undefined,
        onError: () => resolve(false),
      },
    )
  })
}
