import { type CallAttempt, parseAttempt } from '../../protocol/call-attempt.ts'
import { limits } from '../../protocol/limits.ts'

/** The lines of `Khachapuri-Attempt` in a head that was kept. */
export function readKeptAttempts(bytes: Uint8Array): CallAttempt[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  const lines = text.slice(0, 2 * limits.headerBytesMax).matchAll(/^khachapuri-attempt: *([^\r\n]*)\r?$/gim)
  return [...lines].map(([, line = '']) => parseAttempt(line)).filter((attempt) => attempt !== undefined)
}
