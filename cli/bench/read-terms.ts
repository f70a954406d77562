import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { limits } from '../../protocol/limits.ts'
import { payerChoices } from '../../protocol/owner.ts'
import { providerInfoSchema } from '../../protocol/provider.ts'
import { addressSchema } from '../../protocol/schema.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { requestHttp } from '../http.ts'

/** What a call of a URL costs, and whom. */
export interface CallTerms {
  readonly priceUsdc: Usdc
  /** Undefined where the provider does not say. */
  readonly deployment: { readonly payer: (typeof payerChoices)[number]; readonly owner: string } | undefined
}

const describedSchema = z.object({ payer: z.enum(payerChoices), owner: addressSchema })

/** Asks who answers at a URL. @returns undefined where that is no provider, so that a call costs nothing */
export async function readCallTerms(url: URL, signal: AbortSignal): Promise<CallTerms | undefined> {
  const read = async (path: string) => {
    const { body } = await requestHttp({ url: new URL(path, url), bytesMax: limits.specBytesMax }, signal)
    return parseJson(body)
  }
  const info = providerInfoSchema.safeParse(await read('/_/info'))
  if (!info.success) return undefined
  const [, cid = ''] = url.pathname.split('/')
  const described = describedSchema.safeParse(await read(`/_/d/${cid}`))
  return { priceUsdc: info.data.price, deployment: described.data }
}
