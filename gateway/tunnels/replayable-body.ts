import type { Readable } from 'node:stream'
import { formatTrailers } from '../../protocol/frames/head.ts'
import type { MuxStream } from '../../protocol/frames/mux-stream.ts'
import { cleanTrailers } from '../../protocol/http/trailers.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'

/** The body of a request on its way through a tunnel; sent again from the start if that stream is lost. */
export interface ReplayableBody {
  /** False once more has been sent than is kept. */
  isKept(): boolean
  /** Sends what has come so far, and then the rest as it comes. */
  sendTo(stream: MuxStream): void
  /** The stream has room again. */
  onDrain(): void
  /** The stream has gone: nothing more is read until the next `sendTo`. */
  detach(): void
  /** Reads no further: the source is left paused, with what nobody has read still in it. */
  close(): void
}

/** @param onBroken - The caller's body ended before its end. */
export function createReplayableBody(
  body: Readable,
  { onBroken, onActive }: { onBroken: () => void; onActive: () => void },
): ReplayableBody {
  let kept: Buffer[] = []
  let keptBytes = 0
  let isKept = true
  let isRead = false
  let target: MuxStream | undefined

  const keep = (chunk: Buffer) => {
    keptBytes += chunk.length
    isKept = keptBytes <= limits.tunnelReplayBytesMax
    if (isKept) kept.push(chunk)
    else kept = []
  }
  const onData = (chunk: Buffer) => {
    onActive()
    if (isKept) keep(chunk)
    if (!target?.write(chunk)) body.pause()
  }
  const onEnd = () => {
    isRead = true
    target?.end(trailers())
  }
  const onClose = () => {
    if (!isRead) onBroken()
  }
  /** Of a request that came chunked. */
  const trailers = () =>
    formatTrailers(cleanTrailers((body as { rawTrailers?: RawHeaders }).rawTrailers ?? [], 'others'))
  body.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose)
  body.pause()
  if (body.readableEnded) isRead = true
  else if (body.destroyed) queueMicrotask(onClose)

  return {
    isKept: () => isKept,
    sendTo(stream) {
      target = stream
      let hasRoom = true
      for (const chunk of kept) hasRoom = stream.write(chunk)
      if (isRead) stream.end(trailers())
      else if (hasRoom) body.resume()
    },
    onDrain() {
      if (target && !isRead) body.resume()
    },
    detach() {
      target = undefined
      body.pause()
    },
    close() {
      target = undefined
      kept = []
      body.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose)
      if (!isRead) body.pause()
    },
  }
}
