import { ProtocolError } from '../protocol/errors.ts'

/** What a command does not take; it ends with 2. */
export function usageError(message: string, hint: string): ProtocolError {
  return new ProtocolError('usage_invalid', message, { hint })
}
