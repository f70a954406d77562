import type { Clock } from '../../../protocol/base/clock.ts'
import { readBounded } from '../read-bounded.ts'
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
const engineLine =
  /^(?:workerd\/\S+:\d+: |stack: |\*\*\* Received signal |service program: The compatibility flag )/
/** A longer line is passed on in pieces. */
const lineCharsMax = 8 * 1024

/** Reads both streams of a process, no faster than a bound: whoever floods them waits for itself. */
export function readOutput({ clock }: { clock: Clock }, { stdout, stderr, ended }: Cell): Output {
  let errorTail = ''
  let listener: ((chunk: Buffer) => void) | undefined

  readBounded(clock, stdout, ended, (chunk) => listener?.(Buffer.from(chunk)))
  const filter = createLineFilter((text) => listener?.(Buffer.from(text)))
  stderr.setEncoding('utf8')
  readBounded(clock, stderr, ended, (chunk) => {
    errorTail = (errorTail + chunk).slice(-tailCharsMax)
    filter.push(String(chunk))
  })
  stderr.on('end', filter.end)
  return {
    get errorTail() {
      return errorTail
    },
    forwardTo(next) {
      listener = next
    },
  }
}

/** Passes on the lines that are not workerd's own, in whatever pieces they come. */
export function createLineFilter(pass: (text: string) => void): { push(text: string): void; end(): void } {
  let held = ''
  let isInside: 'own' | 'engine' | undefined

  /** @param line - With its end, unless it is a piece of a longer one. */
  function take(line: string): void {
    isInside ??= engineLine.test(line) ? 'engine' : 'own'
    if (isInside === 'own') pass(line)
    if (line.endsWith('\n')) isInside = undefined
  }

  return {
    push(text) {
      held += text
      for (let end = held.indexOf('\n'); end >= 0; end = held.indexOf('\n')) {
        take(held.slice(0, end + 1))
        held = held.slice(end + 1)
      }
      if (held.length <= lineCharsMax) return
      take(held)
      held = ''
    },
    end() {
      if (held !== '') take(held)
      held = ''
    },
  }
}
