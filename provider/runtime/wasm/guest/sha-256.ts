/**
 * SHA-256 (FIPS 180-4) of a short text. The guest has its own because nothing else it needs would be `node:crypto`, which
 * takes workerd longer to load than a program takes to answer, and WebCrypto answers later while a program waits for none.
 */
export function sha256(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(text)
  const padded = new Uint8Array(Math.ceil((bytes.length + 9) / blockBytes) * blockBytes)
  padded.set(bytes)
  padded[bytes.length] = 0x80
  const view = new DataView(padded.buffer)
  view.setUint32(padded.length - 8, Math.floor((bytes.length * 8) / 2 ** 32))
  view.setUint32(padded.length - 4, (bytes.length * 8) % 2 ** 32)
  const state = Uint32Array.from(initialState)
  const words = new Uint32Array(64)
  for (let at = 0; at < padded.length; at += blockBytes) compress(state, words, view, at)
  const digest = new DataView(new ArrayBuffer(32))
  state.forEach((word, index) => {
    digest.setUint32(4 * index, word)
  })
  return new Uint8Array(digest.buffer)
}

const blockBytes = 64

/** Fractional parts of the square roots of the first 8 primes, and of the cube roots of the first 64. */
const primes = listPrimes(64)
const initialState = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)))
const roundConstants = Uint32Array.from(primes, (prime) => fraction(Math.cbrt(prime)))

function listPrimes(count: number): number[] {
  const found: number[] = []
  for (let number = 2; found.length < count; number += 1)
    if (found.every((prime) => number % prime !== 0)) found.push(number)
  return found
}

/** Its first 32 bits. */
function fraction(root: number): number {
  return Math.floor((root % 1) * 2 ** 32)
}

function compress(state: Uint32Array, words: Uint32Array, view: DataView, at: number): void {
  for (let i = 0; i < 16; i += 1) words[i] = view.getUint32(at + 4 * i)
  for (let i = 16; i < 64; i += 1) {
    const [early, late] = [words[i - 15]!, words[i - 2]!]
    const small0 = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3)
    const small1 = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10)
    words[i] = words[i - 16]! + small0 + words[i - 7]! + small1
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  for (let i = 0; i < 64; i += 1) {
    const big1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
    const choice = (e & f) ^ (~e & g)
    const first = (h + big1 + choice + roundConstants[i]! + words[i]!) >>> 0
    const big0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
    const majority = (a & b) ^ (a & c) ^ (b & c)
    ;[h, g, f, e, d, c, b, a] = [g, f, e, (d + first) >>> 0, c, b, a, (first + big0 + majority) >>> 0]
  }
  ;[a, b, c, d, e, f, g, h].forEach((word, index) => {
    state[index] = state[index]! + word
  })
}

function rotate(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits))
}
