import { createConnection, type Socket } from 'node:net'

/** Connects to the Unix socket of a program. */
export function connectProgram(socketPath: string): Socket {
  return endByReading(createConnection(socketPath))
}

/**
 * A program may answer and close before it has read its whole request; Node would then fail at the next write and throw
 * away the answer that waits to be read. From now on only reading ends this connection.
 */
export function endByReading(socket: Socket): Socket {
  const write = socket._write.bind(socket)
  const writeMany = socket._writev?.bind(socket)
  socket._write = (chunk, encoding, done) => write(chunk, encoding, unlessFailed(done))
  if (writeMany) socket._writev = (chunks, done) => writeMany(chunks, unlessFailed(done))
  return socket
}

type Done = (error?: Error | null) => void

/** A write that failed never ends, so that nothing more is written, and nothing is destroyed before it was read. */
function unlessFailed(done: Done): Done {
  return (error) => {
    if (!error) done()
  }
}
