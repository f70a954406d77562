import type { MuxStream, Stream, StreamHandler } from '../protocol/frames/mux-stream.ts'

/**
 * Lets a large stream go on through another connection, as the gateway asks.
 *
 * @param moved - Undefined where it is over here: then nothing needs to be moved, and its end is on its way.
 */
export function takeLane(lane: MuxStream, moved: Stream | undefined): StreamHandler {
  let handler: StreamHandler | undefined
  if (moved?.isMovable) {
    lane.sendHead('lane')
    moved.moveTo((given) => {
      handler = given
      return lane
    })
  } else lane.reset('refused')
  return handler ?? nobody
}

const nobody: StreamHandler = {
  onHead() {},
  onAccept() {},
  onData() {},
  onEnd() {},
  onDrain() {},
  onReset() {},
  onLost() {},
}
