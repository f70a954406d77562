import { usageError } from './command.ts'

const secondsPer = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/**
 * Reads a duration such as `90s`, `15m`, `48h` or `30d`.
 *
 * @returns seconds, 1 … 100 years
 * @throws ProtocolError `usage_invalid`
 */
export function parseDuration(flag: string, text: string): number {
  const [, digits, unit] = /^(\d{1,10})([smhd])$/.exec(text) ?? []
  const seconds = Number(digits) * secondsPer[(unit ?? 's') as keyof typeof secondsPer]
  if (digits !== undefined && seconds >= 1 && seconds <= 100 * 365 * secondsPer.d) return seconds
  throw usageError(
    `"${text.slice(0, 40)}" is not a duration for --${flag}.`,
    'Write it as in 90s, 15m, 48h or 30d.',
  )
}

/** Reads the whole number of a flag. @throws ProtocolError `usage_invalid` with the range */
export const parseCount = (flag: string, text: string, range: { min: number; max: number }): number =>
  parseWholeNumber(`--${flag}`, text, range)

/** @param what - What the user wrote it for. @throws ProtocolError `usage_invalid` with the range */
export function parseWholeNumber(
  what: string,
  text: string,
  { min, max }: { min: number; max: number },
): number {
  const count = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (count >= min && count <= max) return count
  throw usageError(
    `"${text.slice(0, 40)}" is not a value for ${what}.`,
    `Use a whole number from ${min} to ${max}.`,
  )
}
