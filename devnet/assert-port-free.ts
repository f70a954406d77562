import { once } from 'node:events'
import { createServer } from 'node:net'
import { ProtocolError } from '../protocol/errors.ts'

/**
 * Says at once what would otherwise show after seconds of work. Both loopback addresses are asked: who listens on the
 * other one would get the calls of every tool that tries it first.
 *
 * @throws ProtocolError `port_taken`
 */
export async function assertPortFree(port: number): Promise<void> {
  if (port === 0) return
  for (const host of ['127.0.0.1', '::1']) {
    const server = createServer()
    try {
      await once(server.listen({ host, port, exclusive: true }), 'listening')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw portTaken(port, error)
      // A machine may have no IPv6; what else there is, the gateway will say.
      continue
    }
    server.close()
    await once(server, 'close')
  }
}

function portTaken(port: number, cause: unknown): ProtocolError {
  return new ProtocolError('port_taken', `Port ${port} is taken.`, {
    hint: 'Stop the program that listens there, or choose another port: npm start -- --port 8081 (0 takes a free one).',
    details: { port },
    cause,
  })
}
