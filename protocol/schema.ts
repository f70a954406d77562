import { type Address, getAddress, isAddress } from 'viem'
import { z } from 'zod'
import { type Usdc, usdcFromJson } from './usdc.ts'

/** Pieces that the parsers of several objects share. */

/** An address in any casing without a wrong checksum; checksummed from here on, so that it is safe as a map key. */
export const addressSchema = z
  .string()
  .refine((text) => isAddress(text, { strict: text !== text.toLowerCase() }), 'Expected an address')
  .transform((text): Address => getAddress(text))

export const hexSchema = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^0x[0-9a-f]{${bytes * 2}}$`), `Expected ${bytes} bytes as lower-case 0x…`)
    .transform((text) => text as `0x${string}`)

/** A decimal string of base units. */
export const usdcSchema = z.string().transform((text, context): Usdc => {
  const amount = usdcFromJson(text)
  if (amount !== undefined) return amount
  context.addIssue({ code: 'custom', message: 'Expected an amount in base units, as a decimal string' })
  return z.NEVER
})

/** Seconds since 1970. */
export const secondsSchema = z
  .number()
  .int()
  .min(0)
  .max(2 ** 40)

/** Zod's report as one bounded line for a problem's detail. */
export function describeIssues(error: z.ZodError): string {
  return error.issues
    .slice(0, 5)
    .map(({ path, message }) => (path.length > 0 ? `${path.join('.').slice(0, 80)}: ${message}` : message))
    .join('; ')
    .slice(0, 500)
}
