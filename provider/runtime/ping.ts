import type { Duplex } from 'node:stream'
import { createHttpPool } from '../../protocol/http/h1-client.ts'
import { limits } from '../../protocol/limits.ts'

/** Whether a program answers `GET /`, whatever it answers, within a moment. */
export async function ping(connect: () => Duplex): Promise<boolean> {
  using pool = createHttpPool({
    connect,
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
