import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { readBounded } from '../../protocol/base/bytes.ts'
import { ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import type { HttpResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import { limits } from '../../protocol/limits.ts'

/** With it a program shows which of its calls asks for a signature. */
export const attestTokenHeader = 'khachapuri-attest'

/**
 * Where one program's process asks for signatures: a Unix socket that nothing else can reach, so that whose programId goes into them
 * is nothing that anybody says. And it is asked for a call: what was lent to one is worth nothing once it is over.
 */
export interface AttestChannel extends AsyncDisposable {
  /** Lends the key to one call, until it is disposed. */
  lend(): AttestLoan
}

export interface AttestLoan extends Disposable {
  readonly token: string
}

interface Loan {
  signatures: number
}

export async function openAttestChannel(
  { sign }: { readonly sign: (message: Uint8Array) => Promise<Uint8Array> },
  { socketPath }: { readonly socketPath: string },
): Promise<AttestChannel> {
  const loans = new Map<string, Loan>()

  async function answer(request: IncomingMessage): Promise<Uint8Array> {
    const token = String(request.headers[attestTokenHeader])
    const loan = loans.get(token)
    if (!loan) throw outsideActivation()
    if (loan.signatures >= limits.attestationsPerCallMax) throw exhausted()
    loan.signatures += 1
    const message = await readBounded(
      request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>,
      limits.attestMessageBytesMax,
    )
    if (!message) throw messageTooLarge()
    const signature = await sign(message)
    // What a program started and did not wait for is over with its call.
    if (!loans.has(token)) throw outsideActivation()
    return signature
  }

  const server = createServer({
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: limits.headerTimeoutMs,
    requestTimeout: limits.callTimeoutMsMax,
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout: limits.listenerKeepAliveMs,
    shouldUpgradeCallback: () => false,
  })
  server.maxConnections = limits.attestConnectionsMax
  function onRequest(request: IncomingMessage, response: HttpResponse): void {
    answer(request).then(
      (signature) => {
        response.writeHead(200, { 'content-type': 'application/octet-stream' })
        response.end(signature)
      },
      (error) => {
        // What is left of a message that is too long is not read.
        if (!request.complete) response.setHeader('connection', 'close')
        sendProblem(response, toProtocolError(error))
      },
    )
  }
  server.on('request', onRequest as (request: IncomingMessage, response: unknown) => void)
  // The program has a user of its own, and its folder is closed to all others.
  server.listen({ path: socketPath, readableAll: true, writableAll: true })
  await once(server, 'listening')

  return {
    lend() {
      const token = randomBytes(16).toString('base64url')
      loans.set(token, { signatures: 0 })
      return { token, [Symbol.dispose]: () => void loans.delete(token) }
    },
    async [Symbol.asyncDispose]() {
      loans.clear()
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

export const outsideActivation = () =>
  new ProtocolError('attest_outside_activation', 'Only an activation can attest, and only while it runs.', {
    hint: 'Move it into one of the activations that the manifest lists, and wait there for the signature.',
  })

const exhausted = () =>
  new ProtocolError(
    'attest_exhausted',
    `A call can have ${limits.attestationsPerCallMax} messages signed, and no more.`,
    { hint: 'Sign less in one call, or one message that says it all.' },
  )

const messageTooLarge = () =>
  new ProtocolError(
    'attest_message_too_large',
    `What is attested has at most ${limits.attestMessageBytesMax} bytes.`,
    { hint: 'Attest to its SHA-256.', details: { bytesMax: limits.attestMessageBytesMax } },
  )
