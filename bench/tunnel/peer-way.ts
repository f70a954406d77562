import type { StartedProcess } from '../processes.ts'
import type { TunnelWay, WayOptions } from './setup.ts'

export interface PeerParts {
  readonly name: string
  readonly publicPort: number
  /** By which its server knows whom a request is for. */
  readonly host: string | undefined
  readonly server: StartedProcess
  readonly client: StartedProcess
  readonly origin: WayOptions['origin']
  /** What has been started; the way owns it from here on. */
  readonly starting: AsyncDisposableStack
}

/** A tunnel of others as a way to the web server. */
export function toWay({ name, publicPort, host, server, client, origin, starting }: PeerParts): TunnelWay {
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
