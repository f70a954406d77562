import { ProtocolError } from '../../protocol/errors.ts'
import type { Check } from '../../protocol/verify-receipt.ts'

/** One line of what was checked; what was asked of chain and provider among it. */
export type ShownCheck = Pick<Check, 'verdict' | 'says'> & { readonly name: string }

const marks = { ok: 'ok   ', wrong: 'WRONG', open: '-    ' }

export const formatChecks = (checks: readonly ShownCheck[]): string =>
  checks.map(({ name, verdict, says }) => `${marks[verdict]}  ${name.padEnd(10)}  ${says}`).join('\n')

/** @throws ProtocolError `receipt_differs`, naming each check that is wrong */
export function assertHolds(
  checks: readonly ShownCheck[],
  facts: Readonly<Record<string, unknown>> = {},
): void {
  const wrong = checks.filter(({ verdict }) => verdict === 'wrong')
  if (wrong.length === 0) return
  throw new ProtocolError(
    'receipt_differs',
    `The receipt does not hold: ${wrong.map(({ name, says }) => `${name} (${says})`).join('; ')}.`,
    {
      hint: 'Check that receipt, body and request are of the same call. If they are, keep them: they prove what the provider signed.',
      details: { wrong: wrong.map(({ name }) => name), ...facts },
    },
  )
}
