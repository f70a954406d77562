import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { EgressBudget } from './budget.ts'
import { exhausted, refuseSocket, toEgressError, tooSlow } from './refusals.ts'

export interface TunnelOptions {
  readonly budget: EgressBudget
  readonly where: string
  readonly idleTimeoutMs: number
  readonly exchangeMsMax: number
  readonly onClose: () => void
}

/**
 * Joins a program's `CONNECT` with a server: bytes both ways, no faster than the slower side, until one of them closes.
 *
 * @param head - What the program has sent already.
 */
export function forwardTunnel(
  program: Duplex,
  head: Buffer,
  server: Socket,
  { budget, where, idleTimeoutMs, exchangeMsMax, onClose }: TunnelOptions,
): void {
  let isOpen = false
  let isClosed = false
  const close = (error?: unknown) => {
    if (isClosed) return
    isClosed = true
    if (isOpen || error === undefined) program.destroy()
    else refuseSocket(program, toEgressError(error, where))
    server.destroy()
  }
  const pay = (bytes: Buffer) => {
    if (!budget.take('sentBytes', bytes.length)) close(exhausted('sentBytes'))
  }
  const timer = setTimeout(() => close(tooSlow(where)), exchangeMsMax)

  server.once('connect', () => {
    isOpen = true
    program.write('HTTP/1.1 200 OK\r\n\r\n')
    // Before anybody listens: what is put back into a stream that flows goes to those who listen by then.
    if (head.length > 0) program.unshift(head)
    program.on('data', pay)
    program.pipe(server)
    server.pipe(program)
  })
  server.setTimeout(idleTimeoutMs, () => close(tooSlow(where)))
  server.on('error', close)
  // What the server has sent goes to the program before its end does; a server that broke off ends at once.
  server.once('close', (hadError) => {
    if (hadError) close()
    else program.end(() => program.destroy())
  })
  program.on('error', () => close())
  program.once('close', () => {
    clearTimeout(timer)
    server.destroy()
    onClose()
  })
}
