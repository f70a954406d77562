import { limits } from '../../protocol/limits.ts'
import { usageError } from '../command.ts'

/** Reads the value of `--message`. @throws ProtocolError `usage_invalid` */
export function parseMessage(text: string | undefined): string | null {
  if (text === undefined) return null
  if (text.length <= limits.versionMessageCharsMax) return text
  throw usageError(
    `The message has more than ${limits.versionMessageCharsMax} characters.`,
    'Say it shorter; it is for "khachapuri versions".',
  )
}
