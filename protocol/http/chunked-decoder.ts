import { limits } from '../limits.ts'
import { isHeaderValue, isToken } from './header-syntax.ts'
import { refuse } from './response-head.ts'
import type { RawHeaders } from './upstream.ts'

/** Takes the chunked transfer coding off a body (RFC 9112 section 7.1). Extensions are dropped. */
export interface ChunkedDecoder {
  reset(): void
  /**
   * @returns what follows the end of the body, or undefined while the body goes on.
   * @throws `provider_answer_invalid`
   */
  push(bytes: Buffer): Buffer | undefined
  /** Names and values in turn of what followed the body, once that has ended; undefined where that was nothing. */
  readonly trailers: RawHeaders | undefined
}

type State = 'size' | 'data' | 'data_end' | 'trailer'

// Extensions are read over, but only in the form that every reader sees the same way.
const sizeLine = /^([0-9a-fA-F]{1,12})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/
const LF = 10

export function createChunkedDecoder(onData: (data: Buffer) => void): ChunkedDecoder {
  let state: State = 'size'
  let line = ''
  let chunkBytesLeft = 0
  let trailerBytes = 0
  let trailers: string[] | undefined

  /** @returns the offset behind the line that ends in `bytes`, or undefined when it does not end there. */
  function readLine(bytes: Buffer, offset: number, bytesMax: number): number | undefined {
    const newline = bytes.indexOf(LF, offset)
    const end = newline < 0 ? bytes.length : newline + 1
    if (line.length + end - offset > bytesMax) refuse('has a chunk line that is too long')
    line += bytes.toString('latin1', offset, end)
    return newline < 0 ? undefined : end
  }

  function takeLine(): string {
    if (!line.endsWith('\r\n')) refuse('has a chunk line without CRLF')
    const text = line.slice(0, -2)
    line = ''
    return text
  }

  function beginChunk(text: string): void {
    const [, digits] = sizeLine.exec(text) ?? refuse('has a malformed chunk size')
    chunkBytesLeft = Number.parseInt(digits!, 16)
    state = chunkBytesLeft > 0 ? 'data' : 'trailer'
    trailerBytes = 0
  }

  function readData(bytes: Buffer, offset: number): number {
    const end = Math.min(bytes.length, offset + chunkBytesLeft)
    chunkBytesLeft -= end - offset
    if (chunkBytesLeft === 0) state = 'data_end'
    onData(bytes.subarray(offset, end))
    return end
  }

  /** @returns whether the trailer section, and with it the body, has ended. */
  function readTrailer(text: string): boolean {
    trailerBytes += text.length
    if (trailerBytes > limits.headerBytesMax) refuse('has trailers that are too large')
    if (text === '') return true
    const colon = text.indexOf(':')
    const name = text.slice(0, Math.max(colon, 0))
    const value = text.slice(colon + 1).trim()
    if (!isToken(name) || !isHeaderValue(value)) refuse('has a malformed trailer')
    trailers ??= []
    trailers.push(name, value)
    return false
  }

  return {
    get trailers() {
      return trailers
    },
    reset() {
      state = 'size'
      trailers = undefined
      line = ''
    },
    push(bytes) {
      let offset = 0
      while (offset < bytes.length) {
        if (state === 'data') {
          offset = readData(bytes, offset)
          continue
        }
        const bytesMax = state === 'trailer' ? limits.headerBytesMax : limits.chunkLineBytesMax
        const end = readLine(bytes, offset, bytesMax)
        if (end === undefined) return undefined
        offset = end
        const text = takeLine()
        if (state === 'size') beginChunk(text)
        else if (state === 'data_end') {
          if (text !== '') refuse('has a chunk that is longer than it said')
          state = 'size'
        } else if (readTrailer(text)) return bytes.subarray(offset)
      }
      return undefined
    },
  }
}
