import { createHash } from 'node:crypto'

/** @returns Up to `count` of `all`, the same ones for the same seed. */
export function pickSample<T extends { readonly id: number }>(
  all: readonly T[],
  count: number,
  seed: number,
): T[] {
  const lotOf = ({ id }: T) => createHash('sha256').update(`${seed} ${id}`).digest('hex')
  return all
    .map((one) => ({ one, lot: lotOf(one) }))
    .sort((a, b) => (a.lot < b.lot ? -1 : 1))
    .slice(0, count)
    .map(({ one }) => one)
}
