import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ProtocolError } from '../errors.ts'

/** All metrics of a process now, in the text format of Prometheus. */
export interface MetricsSource {
  read(): Promise<{ readonly text: string; readonly type: string }>
}

export interface MetricsOptions {
  readonly port: number
  /** This machine only, unless another address is given. */
  readonly host?: string
}

/**
 * Shows metrics at `http://<host>:<port>/metrics`, on a port of their own that strangers do not reach.
 *
 * @throws ProtocolError `port_taken`, `config_invalid` (an address that this machine does not have)
 */
export async function serveMetrics(
  metrics: MetricsSource,
  { port, host = '127.0.0.1' }: MetricsOptions,
): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer((request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end('Metrics are at /metrics.\n')
      return
    }
    metrics.read().then(
      ({ text, type }) => response.writeHead(200, { 'content-type': type }).end(text),
      () => response.writeHead(500).end(),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(describeError(cause, { port, host })))
    server.listen(port, host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function describeError(
  cause: NodeJS.ErrnoException,
  { port, host }: { readonly port: number; readonly host: string },
): ProtocolError {
  if (cause.code === 'EADDRINUSE') {
    return new ProtocolError('port_taken', `Port ${port} on ${host} is taken.`, {
      hint: 'Choose another one with --metrics-port.',
      cause,
    })
  }
  return new ProtocolError('config_invalid', `Metrics cannot be at port ${port} of ${host}: ${cause.code}.`, {
    hint: 'Choose an address of this machine, and a port above 1023.',
    cause,
  })
}
