import { cleanMessage } from '../clean-message.ts'
import type { Redact } from '../redact.ts'

/** The last words of a process: the last line on its standard error that has anything on it. */
export interface LastLine {
  readonly text: string
  push(chunk: Buffer | string): void
}

/** Of a longer line the beginning is kept: its end might begin in the middle of a secret, where nobody would know it. */
const lineCharsMax = 4 * 1024

export function createLastLine(): LastLine {
  // As Latin-1, so that a character whose bytes come in two pieces is whole again in the end.
  let line = ''
  let last = ''
  return {
    push(chunk) {
      const text =
        typeof chunk === 'string' ? Buffer.from(chunk).toString('latin1') : chunk.toString('latin1')
      const [first = '', ...others] = text.split('\n')
      line = (line + first).slice(0, lineCharsMax)
      for (const other of others) {
        if (hasWords(line)) last = line
        line = other.slice(0, lineCharsMax)
      }
    },
    get text() {
      const words = hasWords(line) ? line : last
      return cleanMessage(Buffer.from(words, 'latin1').toString('utf8'))
    },
  }
}

const hasWords = (latin1: string) => /[^\u0000- \u007f-\u009f]/.test(latin1)

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
