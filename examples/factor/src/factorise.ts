/**
 * The largest number that the Miller–Rabin test with the first thirteen primes is proven for (Sorenson and Webster,
 * 2015): every answer up to here is certain, not just probable.
 */
export const numMax = 3_317_044_064_679_887_385_961_980n

/** Enough for two 41-bit primes, the hardest case below `numMax`, more than ten times over; some seconds of work. */
export const stepsMaxDefault = 40_000_000

export type Factorisation =
  | { readonly kind: 'factored'; readonly primes: readonly bigint[] }
  | { readonly kind: 'exhausted' }

/**
 * The prime factors of `num` in ascending order, as often as they occur.
 *
 * @param num - 2 … `numMax`.
 * @param stepsMax - How many steps of Pollard's rho may be spent before it gives up.
 */
export function factorise(num: bigint, stepsMax: number = stepsMaxDefault): Factorisation {
  const { primes, rest } = divideBySmallPrimes(num)
  const composites = rest > 1n ? [rest] : []
  let stepsLeft = stepsMax
  for (let part = composites.pop(); part !== undefined; part = composites.pop()) {
    if (isPrime(part)) {
      primes.push(part)
      continue
    }
    const { divisor, steps } = findDivisor(part, stepsLeft)
    if (divisor === undefined) return { kind: 'exhausted' }
    stepsLeft -= steps
    composites.push(divisor, part / divisor)
  }
  return { kind: 'factored', primes: primes.sort(compare) }
}

const smallPrimes = listPrimes(1_000).map(BigInt)

/** Takes the primes below a thousand out, which is most of the work for most numbers. */
function divideBySmallPrimes(num: bigint): { primes: bigint[]; rest: bigint } {
  const primes: bigint[] = []
  let rest = num
  for (const prime of smallPrimes) {
    if (prime * prime > rest) break
    while (rest % prime === 0n) {
      primes.push(prime)
      rest /= prime
    }
  }
  return { primes, rest }
}

/** Miller–Rabin; certain up to `numMax`. */
export function isPrime(num: bigint): boolean {
  if (num < 2n) return false
  const bases = smallPrimes.slice(0, 13)
  if (bases.includes(num)) return true
  if (bases.some((base) => num % base === 0n)) return false

  let odd = num - 1n
  let twos = 0
  while (odd % 2n === 0n) {
    odd /= 2n
    twos += 1
  }
  return bases.every((base) => passesMillerRabin(num, { base, odd, twos }))
}

function passesMillerRabin(
  num: bigint,
  { base, odd, twos }: { base: bigint; odd: bigint; twos: number },
): boolean {
  let power = raise(base, odd, num)
  if (power === 1n || power === num - 1n) return true
  for (let square = 1; square < twos; square += 1) {
    power = (power * power) % num
    if (power === num - 1n) return true
  }
  return false
}

/** How many differences are multiplied before one greatest common divisor is taken of the product. */
const stepsPerGcd = 128

/**
 * A proper divisor of a composite number by Pollard's rho in Brent's form. The sequences are tried in a fixed order,
 * so that the same number always costs the same work.
 */
function findDivisor(num: bigint, stepsMax: number): { divisor: bigint | undefined; steps: number } {
  let steps = 0
  for (let offset = 1n; ; offset += 1n) {
    const advance = (value: bigint) => (value * value + offset) % num
    let current = 2n
    for (let length = 1, divisor = 1n; divisor === 1n; length *= 2) {
      const start = current
      for (let done = 0; done < length && divisor === 1n; done += stepsPerGcd) {
        if (steps >= stepsMax) return { divisor: undefined, steps }
        const count = Math.min(stepsPerGcd, length - done)
        const checkpoint = current
        let product = 1n
        for (let step = 0; step < count; step += 1) {
          current = advance(current)
          product = (product * distance(start, current)) % num
        }
        steps += count
        divisor = gcd(product, num)
        // Several factors came out at once: walk the same stretch again and look at every step.
        if (divisor === num) divisor = firstDivisor(num, { start, from: checkpoint, count, advance })
      }
      if (divisor > 1n && divisor < num) return { divisor, steps }
      if (divisor === num) break
    }
  }
}

function firstDivisor(
  num: bigint,
  {
    start,
    from,
    count,
    advance,
  }: { start: bigint; from: bigint; count: number; advance: (value: bigint) => bigint },
): bigint {
  let current = from
  for (let step = 0; step < count; step += 1) {
    current = advance(current)
    const divisor = gcd(distance(start, current), num)
    if (divisor > 1n) return divisor
  }
  return num
}

function raise(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n
  let square = base % modulus
  for (let rest = exponent; rest > 0n; rest /= 2n) {
    if (rest % 2n === 1n) result = (result * square) % modulus
    square = (square * square) % modulus
  }
  return result
}

function gcd(a: bigint, b: bigint): bigint {
  let [larger, smaller] = [a, b]
  while (smaller > 0n) [larger, smaller] = [smaller, larger % smaller]
  return larger
}

function distance(a: bigint, b: bigint): bigint {
  return a > b ? a - b : b - a
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function listPrimes(below: number): number[] {
  const primes: number[] = []
  for (let candidate = 2; candidate < below; candidate += 1) {
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate)
  }
  return primes
}
