import { type Minute, minuteOf, readPriceCents } from './read-price.ts'

/** What an activation is given beside its params. */
interface Context {
  readonly env: { readonly params: { readonly origin: string } }
  /** The name under which it attests: SHA-256 of this program and its params. */
  readonly programId: string
  /** Has the provider sign bytes in that name. */
  readonly attest: (message: Uint8Array) => Promise<Uint8Array>
}

interface PriceParams {
  readonly time: number
  readonly symbol: string
}

/** A message and its signature, in the form that `khachapuri verify-attestation` reads. */
interface Attested {
  readonly message: string
  readonly signature: string
}

/** What the manifest lists: only these can attest. */
export const activations = {
  async attest_price(params: PriceParams, context: Context) {
    const price = await readPrice(params, context)
    return { ...price, programId: context.programId, ...(await attestTo(price, context)) }
  },

  async attest_price_bits({ bits, ...params }: PriceParams & { readonly bits: number }, context: Context) {
    const { cents, ...minute } = await readPrice(params, context)
    const digits = Math.min(cents, 2 ** bits - 1)
      .toString(2)
      .padStart(bits, '0')
    const attested = await Promise.all(
      [...digits]
        .reverse()
        .map((digit, index) => attestTo({ ...minute, bits, index, value: Number(digit) }, context)),
    )
    return { ...minute, cents, programId: context.programId, bits: attested }
  },
}

async function readPrice(
  { time, symbol }: PriceParams,
  { env }: Context,
): Promise<Minute & { cents: number }> {
  const minute = { symbol, minute: minuteOf(time, Date.now()) }
  return { ...minute, cents: await readPriceCents(minute, env.params.origin) }
}

/** Says it as JSON: the same facts are the same bytes, as their order is that of the code. */
async function attestTo(facts: object, { attest }: Context): Promise<Attested> {
  const message = new TextEncoder().encode(JSON.stringify(facts))
  return { message: toHex(message), signature: toHex(await attest(message)) }
}

const toHex = (bytes: Uint8Array): string =>
  `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`

/** The page for people. It cannot attest. */
export default {
  fetch(): Response {
    return new Response('Ask /_/activate/attest_price?time=<seconds>&symbol=BTC-USD\n')
  },
}
