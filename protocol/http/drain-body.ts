import type { Readable } from 'node:stream'
import { limits } from '../limits.ts'

/**
 * Reads what somebody still sends of a body that nobody wants any more: closing at once would make their system throw the
 * answer away unread, and Node reads no further request before the end of this one. Whoever goes on for long is cut off.
 */
export function drainBody(body: Readable): void {
  if (body.readableEnded || body.destroyed) return
  let unreadBytes = 0
  body.on('data', (chunk: Buffer) => {
    unreadBytes += chunk.length
    if (unreadBytes > limits.unreadBodyBytesMax) body.destroy()
  })
  body.resume()
}
