/**
 * The wait before the next try: doubles with every failure between the two bounds, spread by ±50 % so that a
 * thousand clients that lost the same server do not come back together.
 *
 * @param failures - Failures so far; 0 gives the shortest wait.
 * @param random - Uniform in [0, 1).
 */
export function backoffDelayMs(
  failures: number,
  { delayMsMin, delayMsMax, random }: { delayMsMin: number; delayMsMax: number; random: () => number },
): number {
  const delayMs = Math.min(delayMsMax, delayMsMin * 2 ** Math.min(failures, 30))
  return Math.min(delayMsMax, delayMs * (0.5 + random()))
}
