import type { Readable, Writable } from 'node:stream'

/**
 * Writes a request's body to a program's standard input, no faster than it reads. A program that reads no more leaves
 * the rest in the source.
 *
 * @param onBroken - The body ended before its end.
 * @returns how to stop: the source is then left paused.
 */
export function feedInput(
  stdin: Writable,
  body: Readable | Buffer | undefined,
  onBroken: () => void,
): () => void {
  if (body === undefined || Buffer.isBuffer(body)) {
    stdin.end(body)
    return () => undefined
  }
  const onData = (chunk: Buffer) => {
    if (!stdin.write(chunk)) body.pause()
  }
  const onDrain = () => void body.resume()
  const onEnd = () => {
    stop()
    stdin.end()
  }
  const onClose = () => {
    stop()
    onBroken()
  }
  const stop = () => {
    body.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose)
    stdin.off('drain', onDrain).off('close', stop)
    body.pause()
  }
  stdin.on('drain', onDrain).on('close', stop)
  body.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose)
  // A stream that has ended or died says so only once, to whoever listened then.
  if (body.readableEnded) queueMicrotask(onEnd)
  else if (body.destroyed) queueMicrotask(onClose)
  else body.resume()
  return stop
}
