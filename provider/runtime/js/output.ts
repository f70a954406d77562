import type { Readable } from 'node:stream'
import type { Clock } from '../../../protocol/base/clock.ts'
import { limits } from '../../../protocol/limits.ts'
import type { Cell } from '../sandbox/cell.ts'

/** What a program prints, and what workerd says about it. */
export interface Output {
  /** The end of what came on standard error, for finding out why a process died. */
  readonly errorTail: string
  /** Passes on what comes from now on. */
  forwardTo(listener: ((chunk: Buffer) => void) | undefined): void
}

const tailCharsMax = 8 * 1024
/** workerd's own complaints name paths of this machine; a program's developer is a stranger to them. */
const engineLine = /^(?:workerd\/\S+:\d+: |stack: |service program: The compatibility flag ).*$\n?/gm

/** Reads both streams of a process, no faster than a bound: whoever floods them waits for itself. */
export function readOutput({ clock }: { clock: Clock }, { stdout, stderr, ended }: Cell): Output {
  let errorTail = ''
  let listener: ((chunk: Buffer) => void) | undefined

  const read = (stream: Readable, receive: (chunk: Buffer) => void): void => {
    let windowStartMs = clock.monotonicMs()
    let windowBytes = 0
    stream.on('data', (chunk: Buffer) => {
      const nowMs = clock.monotonicMs()
      if (nowMs - windowStartMs > 1000) {
        windowStartMs = nowMs
        windowBytes = 0
      }
      windowBytes += chunk.length
      receive(chunk)
      if (windowBytes <= limits.programOutputBytesPerSecondMax || ended.aborted) return
      stream.pause()
      clock.sleep(windowStartMs + 1001 - nowMs, ended).then(
        () => stream.resume(),
        () => stream.resume(),
      )
    })
    stream.on('error', () => undefined)
  }

  read(stdout, (chunk) => listener?.(chunk))
  read(stderr, (chunk) => {
    const text = chunk.toString('utf8')
    errorTail = (errorTail + text).slice(-tailCharsMax)
    const own = text.replace(engineLine, '')
    if (own !== '') listener?.(Buffer.from(own))
  })
  return {
    get errorTail() {
      return errorTail
    },
    forwardTo(next) {
      listener = next
    },
  }
}
