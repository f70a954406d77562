import type { Readable } from 'node:stream'
import { readBounded } from '../protocol/base/bytes.ts'
import { raceSignal } from '../protocol/base/signal.ts'
import { ProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import { usageError } from './usage-error.ts'

/** Facts of an answer for programs; amounts may be bigints, which become decimal strings. */
export type Facts = Readonly<Record<string, unknown>>

/** The two-way street between a command and whoever started it. */
export interface Terminal {
  /**
   * The command's answer, on standard output: the text for people or, under `--json`, the facts. A command prints
   * once, so that its output is one JSON object.
   */
  print(text: string, facts: Facts): void
  /** A part of an answer that is bytes, on standard output; resolves when more can be taken. */
  writeBytes(bytes: Uint8Array): Promise<void>
  /** Progress and warnings for people, on standard error: never part of the answer. */
  note(text: string): void
  /**
   * One line that stands below all notes and is written over by the next; nothing where standard error is no terminal.
   * Empty takes it away.
   */
  status(text: string): void
  /**
   * Resolves when the person says yes.
   *
   * @throws ProtocolError `not_confirmed` for anything else, and where nobody can be asked.
   */
  confirm(question: string): Promise<void>
  /** One line typed without an echo. @throws ProtocolError `keystore_locked` where nobody can be asked. */
  askSecret(question: string): Promise<string>
  /** Standard input to its end, as for `--key-stdin`: 4 KiB where nothing else is said. @throws ProtocolError `usage_invalid` */
  readStdin(bytesMax?: number): Promise<string>
  /** Whether a person sits at standard input. */
  readonly isInteractive: boolean
}

/** What a terminal is made of; a process gives its streams, a test gives its own. */
export interface TerminalStreams {
  readonly stdin: Readable & { readonly isTTY?: boolean; setRawMode?(mode: boolean): unknown }
  readonly writeOut: (output: string | Uint8Array) => void | Promise<void>
  readonly writeError: (text: string) => void
  /** Of the terminal that standard error is; absent where it is none. */
  readonly errorColumns?: () => number
}

export function createTerminal(
  { stdin, writeOut, writeError, errorColumns }: TerminalStreams,
  { json }: { json: boolean },
  signal: AbortSignal,
): Terminal {
  let line = ''
  return {
    print: (text, facts) => void writeOut(json ? `${formatFacts(facts)}\n` : `${toPlainText(text)}\n`),
    writeBytes: async (bytes) => writeOut(bytes),
    note: (text) => writeError(`${line && eraseLine}${toPlainText(text)}\n${line}`),
    status(text) {
      if (!errorColumns) return
      const erase = line && eraseLine
      // A line that wraps could not be erased as one.
      line = toPlainText(text)
        .replace(/[\n\t]/g, ' ')
        .slice(0, Math.max(0, errorColumns() - 1))
      writeError(erase + line)
    },
    async confirm(question) {
      if (!stdin.isTTY) throw notConfirmed('Nobody can be asked, as standard input is not a terminal.')
      writeError(`${question} [y/N] `)
      const answer = await readLine(stdin, { echo: true, writeError }, signal)
      if (!/^y(es)?$/i.test(answer.trim())) throw notConfirmed('Not confirmed, so nothing was done.')
    },
    async askSecret(question) {
      if (!stdin.isTTY) {
        throw new ProtocolError(
          'keystore_locked',
          `${question} cannot be asked: standard input is not a terminal.`,
          {
            hint: 'Set KHACHAPURI_PASSWORD_FILE or KHACHAPURI_PASSWORD.',
          },
        )
      }
      writeError(`${question}: `)
      return await readLine(stdin, { echo: false, writeError }, signal)
    },
    isInteractive: stdin.isTTY === true,
    async readStdin(bytesMax = limits.stdinSecretBytesMax) {
      const bytes = await raceSignal(readBounded(stdin, bytesMax), signal)
      if (!bytes)
        throw usageError(`Standard input holds more than ${bytesMax} bytes.`, 'Pipe just what is asked for.')
      return Buffer.from(bytes).toString('utf8')
    },
  }
}

/** To the beginning of the line, and nothing is left of it. */
const eraseLine = '\r\u001b[2K'

/** JSON of an answer: amounts as decimal strings, as everywhere on the wire. */
export function formatFacts(facts: unknown): string {
  return JSON.stringify(facts, (_key, value) => (typeof value === 'bigint' ? value.toString() : value))
}

/**
 * Makes control characters visible: what strangers wrote, in a name or a refusal, must not move the cursor, change
 * colours or hide a line.
 */
export function toPlainText(text: string): string {
  return text.replace(
    /[^\P{Cc}\n\t]|[\u2028-\u202e\u2066-\u2069]/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function notConfirmed(message: string): ProtocolError {
  return new ProtocolError('not_confirmed', message, {
    hint: 'Add --yes to do it without a question, or --dry-run to only see it.',
  })
}

function interrupted(): ProtocolError {
  return new ProtocolError('not_confirmed', 'Interrupted, so nothing was done.', { hint: 'Run it again.' })
}

/** Reads one line of a person; without `echo` the terminal is told not to show it. */
async function readLine(
  stdin: TerminalStreams['stdin'],
  { echo, writeError }: { echo: boolean; writeError: (text: string) => void },
  signal: AbortSignal,
): Promise<string> {
  if (!echo) stdin.setRawMode?.(true)
  try {
    return await raceSignal(collectLine(stdin, signal), signal)
  } finally {
    if (!echo) {
      stdin.setRawMode?.(false)
      writeError('\n')
    }
    stdin.pause()
  }
}

async function collectLine(stdin: Readable, signal: AbortSignal): Promise<string> {
  const decoder = new TextDecoder()
  let line = ''
  for await (const chunk of stdin.iterator({ destroyOnReturn: false })) {
    for (const char of typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })) {
      signal.throwIfAborted()
      if (char === '\n' || char === '\r' || char === '\u0004') return line
      // In raw mode the terminal leaves Ctrl-C and backspace to us.
      if (char === '\u0003') throw interrupted()
      line = char === '\u007f' || char === '\b' ? line.slice(0, -1) : line + char
      if (line.length > limits.stdinSecretBytesMax) throw usageError('The line is too long.', 'Try again.')
    }
  }
  return line
}
