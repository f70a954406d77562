import { isProtocolError, type ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { createChunkedDecoder } from './chunked-decoder.ts'
import { parseResponseHead, type ResponseHead, refuse } from './response-head.ts'
import type { RawHeaders, Switch } from './upstream.ts'

export interface ResponseEvents {
  /** The server asks for the body. */
  onContinue(): void
  onHead(head: ResponseHead): void
  onData(chunk: Buffer): void
  /**
   * @param reusable - Whether the connection may carry another request.
   * @param rawTrailers - Where there were any.
   */
  onEnd(reusable: boolean, rawTrailers: RawHeaders | undefined): void
  onError(error: ProtocolError): void
}

/** Reads the answers that come one after the other on one connection, in whatever pieces the network delivers. */
export interface ResponseParser {
  /** Expects one answer to a request of this method; bytes that nobody expects are an error. */
  expect(requestMethod: string, switchesTo?: Switch): void
  push(chunk: Buffer): void
  /** The far side has finished writing; only an answer without a length ends by this. */
  close(): void
  /** Whether any byte of the expected answer has come. */
  readonly started: boolean
  /** Calls no event any more. */
  stop(): void
}

type State = 'idle' | 'head' | 'length' | 'chunked' | 'until_close' | 'stopped'

const headEnd = '\r\n\r\n'

export function createResponseParser(events: ResponseEvents): ResponseParser {
  let state: State = 'idle'
  let method = 'GET'
  let wanted: Switch | undefined
  let started = false
  let held: Buffer | undefined
  let bytesLeft = 0
  let informationalHeads = 0
  let reusable = false
  const decoder = createChunkedDecoder((data) => {
    if (state === 'chunked') events.onData(data)
  })

  function read(chunk: Buffer): void {
    if (state === 'idle') refuse('came before its request')
    started = true
    const rest = state === 'head' ? readHead(chunk) : chunk
    if (rest.length > 0) readBody(rest)
  }

  /** @returns what follows the head; nothing while the head is incomplete. */
  function readHead(chunk: Buffer): Buffer {
    const bytes = held ? Buffer.concat([held, chunk]) : chunk
    const end = bytes.indexOf(headEnd)
    if ((end < 0 ? bytes.length : end) > limits.headerBytesMax) {
      refuse('has a head that is too large', { headerBytesMax: limits.headerBytesMax })
    }
    held = end < 0 ? bytes : undefined
    if (end < 0) return Buffer.alloc(0)
    const head = parseResponseHead(bytes.toString('latin1', 0, end), method)
    const rest = bytes.subarray(end + headEnd.length)
    if (head.status === 101) return switchProtocols(head, rest)
    if (head.status < 200) return skipInformational(head, rest)
    return beginBody(head, rest)
  }

  /** @returns what came with the head: the beginning of the other protocol. */
  function switchProtocols(head: ResponseHead, rest: Buffer): Buffer {
    if (wanted === undefined) refuse('switches protocols, which nobody asked for')
    if (head.upgrade !== wanted) refuse('switches to another protocol than it was asked for')
    reusable = false
    state = 'until_close'
    events.onHead(head)
    return rest
  }

  function skipInformational({ status }: ResponseHead, rest: Buffer): Buffer {
    if (++informationalHeads > limits.informationalHeadsMax) refuse('has too many informational heads')
    if (status === 100) events.onContinue()
    return rest.length > 0 ? readHead(rest) : rest
  }

  function beginBody(head: ResponseHead, rest: Buffer): Buffer {
    const { framing } = head
    reusable = head.reusable
    state = framing.kind === 'none' ? 'length' : framing.kind
    bytesLeft = framing.kind === 'length' ? framing.bytes : 0
    if (framing.kind === 'chunked') decoder.reset()
    events.onHead(head)
    if (framing.kind !== 'none') return rest
    end(rest.length)
    return rest.subarray(rest.length)
  }

  function readBody(chunk: Buffer): void {
    if (state === 'until_close') events.onData(chunk)
    else if (state === 'length') readLength(chunk)
    else if (state === 'chunked') {
      const rest = decoder.push(chunk)
      if (rest !== undefined) end(rest.length)
    }
  }

  function readLength(chunk: Buffer): void {
    const data = chunk.length > bytesLeft ? chunk.subarray(0, bytesLeft) : chunk
    bytesLeft -= data.length
    events.onData(data)
    if (bytesLeft === 0) end(chunk.length - data.length)
  }

  /** Bytes after the end belong to no request: the answer stands, but the connection is not used again. */
  function end(strayBytes: number): void {
    if (state === 'stopped') return
    const trailers = state === 'chunked' ? decoder.trailers : undefined
    state = 'idle'
    events.onEnd(reusable && strayBytes === 0, trailers)
  }

  return {
    expect(requestMethod, switchesTo) {
      if (state === 'stopped') return
      wanted = switchesTo
      method = requestMethod
      state = 'head'
      started = false
      informationalHeads = 0
    },
    push(chunk) {
      if (state === 'stopped') return
      try {
        read(chunk)
      } catch (error) {
        if (!isProtocolError(error)) throw error
        if (stopped()) return
        state = 'stopped'
        events.onError(error)
      }
    },
    close() {
      if (state === 'until_close') end(0)
    },
    get started() {
      return started
    },
    stop() {
      state = 'stopped'
      held = undefined
    },
  }

  /** The state as it is now: an event may have stopped the parser behind the type checker's back. */
  function stopped(): boolean {
    return state === 'stopped'
  }
}
