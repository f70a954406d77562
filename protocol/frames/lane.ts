import type { MuxStream, StreamHandler } from './mux-stream.ts'
import type { ResetReason } from './reset-code.ts'

/** What hears of the lane: the stream that goes on through it. */
export interface LaneOwner {
  onData(chunk: Buffer): unknown
  onEnd(trailers: string): void
  onDrain(): unknown
  onReset(reason: ResetReason): unknown
  onLost(): void
  /** Everything of this side has left. */
  onSent(): void
}

/** A stream of another connection by which a large one goes on, so that it stands in nobody's way. */
export interface Lane {
  /** Whether this side's direction goes through it; else that was over before. */
  readonly isOutMoved: boolean
  readonly isSent: boolean
  write(chunk: Buffer): boolean
  end(trailers: string): void
  /** What comes is held back until its turn. */
  letFlow(mayFlow: boolean): void
  /** The stream that it belongs to was broken off; the other end is told the same on both ways. */
  close(reason: ResetReason): void
}

export function createLane(
  open: (handler: StreamHandler) => MuxStream,
  owner: LaneOwner,
  { isOutMoved }: { isOutMoved: boolean },
): Lane {
  let isOver = false
  const over = (tell: () => unknown) => {
    if (isOver) return
    isOver = true
    tell()
  }
  const stream = open({
    onHead() {},
    onAccept() {},
    onData: (chunk) => void owner.onData(chunk),
    onEnd: (trailers) => owner.onEnd(trailers),
    onDrain: () => void owner.onDrain(),
    onReset: (reason) => over(() => owner.onReset(reason)),
    onLost: () => over(() => owner.onLost()),
    onSent: () => owner.onSent(),
  })
  stream.pause()
  if (!isOutMoved) stream.end()
  return {
    isOutMoved,
    get isSent() {
      return stream.isSent
    },
    write: (chunk) => stream.write(chunk),
    end: (trailers) => stream.end(trailers),
    letFlow(mayFlow) {
      if (mayFlow) stream.resume()
      else stream.pause()
    },
    close(reason) {
      if (isOver) return
      isOver = true
      stream.reset(reason)
    },
  }
}
