import { cleanMessage } from '../clean-message.ts'
import type { Redact } from '../redact.ts'

/** The last words of a process: the last line on its standard error that has anything on it. */
export interface LastLine {
  readonly text: string
  push(chunk: Buffer | string): void
}

const tailCharsMax = 4 * 1024

export function createLastLine(): LastLine {
  let tail = ''
  return {
    push(chunk) {
      // As Latin-1, so that a character whose bytes come in two pieces is whole again in the end.
      tail = (tail + (typeof chunk === 'string' ? chunk : chunk.toString('latin1'))).slice(-tailCharsMax)
    },
    get text() {
      const lines = Buffer.from(tail, 'latin1').toString('utf8').split('\n').map(cleanMessage)
      return lines.findLast((line) => line !== '') ?? ''
    },
  }
}

/** What a process that ended by itself ended with, in words. */
export function describeExit(
  { code, signal }: { code: number | null; signal: string | null },
  lastLine: string,
  redact: Redact,
): string {
  const what = signal ? `It ended on ${signal}` : `It exited with ${describeCode(code ?? 0)}`
  return lastLine === '' ? `${what}.` : `${what}: ${redact(lastLine)}`
}

/** As shells count, beyond 128 is the number of a signal. */
function describeCode(code: number): string {
  return code > 128 && code < 160 ? `code ${code} (signal ${code - 128})` : `code ${code}`
}
