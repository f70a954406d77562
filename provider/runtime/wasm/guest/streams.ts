import type { Input, Output } from './wasi.ts'

/** A request's body as standard input. */
export interface BodyInput extends Input {
  /** Nobody reads on. */
  cancel(): void
}

/** @param onWait - Hears that the program waits for more. */
export function createInput(body: ReadableStream<Uint8Array> | null, onWait: () => void): BodyInput {
  const reader = body?.getReader()
  let held = new Uint8Array(0)
  let isOver = reader === undefined

  function take(bytesMax: number): Uint8Array {
    const taken = held.subarray(0, bytesMax)
    held = held.subarray(taken.length)
    return taken
  }

  async function wait(bytesMax: number): Promise<Uint8Array> {
    onWait()
    while (held.length === 0 && !isOver) {
      const next = await reader?.read()
      if (!next || next.done) isOver = true
      else held = next.value as Uint8Array<ArrayBuffer>
    }
    return take(bytesMax)
  }

  return {
    read: (bytesMax) => (held.length > 0 || isOver || bytesMax === 0 ? take(bytesMax) : wait(bytesMax)),
    cancel() {
      if (!isOver) void reader?.cancel().catch(() => undefined)
    },
  }
}

/** Standard error, as lines. */
export interface ErrorOutput extends Output {
  /** The last that had anything on it: what a program says when it fails. */
  readonly lastLine: string
  end(): void
}

/** Of a longer line the rest is dropped: it might begin in the middle of a secret, where nobody would know it. */
const lineCharsMax = 8 * 1024

export function createErrors(print: (line: string) => void): ErrorOutput {
  const decoder = new TextDecoder()
  let held = ''
  let lastLine = ''

  function take(line: string): void {
    print(line)
    if (line.trim() !== '') lastLine = line.trim()
  }

  return {
    get lastLine() {
      return lastLine
    },
    write(chunk) {
      const lines = (held + decoder.decode(chunk, { stream: true })).split('\n')
      held = (lines.pop() ?? '').slice(0, lineCharsMax)
      for (const line of lines) take(line.slice(0, lineCharsMax))
      return undefined
    },
    end() {
      if (held !== '') take(held)
      held = ''
    },
  }
}
