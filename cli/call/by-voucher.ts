import { zeroAddress } from 'viem'
import { parseJson } from '../../protocol/canonical-json.ts'
import { readGrant } from '../../protocol/chain/escrow.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { providerInfoSchema } from '../../protocol/provider.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { openTab } from '../../protocol/voucher-client.ts'
import { createVoucherSession, readCallEnd } from '../../protocol/voucher-session.ts'
import { signVoucherAccess, voucherHeader } from '../../protocol/voucher-token.ts'
import type { CommandContext } from '../command.ts'
import { requestHttp } from '../http.ts'
import { readAccountAddress } from '../keys/account.ts'
import { openWriter } from '../market/open.ts'
import type { AccountFlags, MarketFlags } from '../market/options.ts'
import { marketKey, type ResolvedProvider, resolveProvider } from '../market/resolve-provider.ts'
import type { Answer } from './answer.ts'
import { createTabFile } from './tab-file.ts'

export interface VoucherFlags extends MarketFlags, AccountFlags {
  readonly payer?: string | undefined
  readonly provider?: string | undefined
  readonly 'accept-identity'?: boolean | undefined
}

export interface VoucherCall {
  readonly url: URL
  readonly maxPriceUsdc: Usdc | undefined
  readonly windowCalls: number
  /** Sends the call with these headers besides its own. */
  readonly send: (headers: Readonly<Record<string, string>>) => Promise<Answer>
}

/**
 * Makes a call that a voucher pays for: to the provider that the chain names, at the price that it asks, from the grant
 * of the account that signs.
 *
 * @throws ProtocolError `grant_missing`, `price_above_cap`, `accounts_differ`, `identity_changed`, …
 */
export async function callByVoucher(
  flags: VoucherFlags,
  { url, maxPriceUsdc, windowCalls, send }: VoucherCall,
  context: CommandContext,
): Promise<Answer> {
  const writer = await openWriter(flags, context)
  const { account: signer, market: place, client } = writer
  const resolving = { ...writer, acceptIdentity: flags['accept-identity'] ?? false }
  const name = flags.provider ?? (url.hostname.split('.')[0] as string)
  const provider = await resolveProvider(name, resolving, context)
  const payer =
    flags.payer === undefined ? signer.address : await readAccountAddress(flags.payer, {}, place, context)
  const priceUsdc = await readPrice(url, provider, context)
  const market = { chainId: place.chainId, escrow: place.contracts.escrow }
  const key = { payer, provider: provider.address, signer: signer.address }

  const readGrantNow = () => readGrant(client, market.escrow, key, context.signal)
  async function openFirst() {
    const grant = await readGrantNow()
    if (grant) return openTab(grant)
    throw new ProtocolError(
      'grant_missing',
      `${payer} has no grant for ${provider.name} that ${signer.address} signs vouchers for.`,
      {
        hint: `khachapuri approve ${provider.name} --signer ${signer.address} --price <usdc> --budget <usdc>`,
      },
    )
  }
  const tabKey = [await marketKey(writer, context.signal), payer, provider.address, signer.address].join('/')
  const session = createVoucherSession(
    {
      clock: context.clock,
      store: createTabFile(context, tabKey, openFirst),
      sign: (voucher) => signVoucher(voucher, signer, market),
      signAccess: (scope) => signVoucherAccess(scope, signer, market),
      readGrant: readGrantNow,
    },
    { market, rules: { windowCalls, ...(maxPriceUsdc !== undefined && { maxPriceUsdc }) } },
  )
  return session.call(priceUsdc, async (token) => {
    const answer = await send({ [voucherHeader]: token })
    return { ...readCallEnd(answer), value: answer }
  })
}

/** What the provider asks for one call. It is its own word, and all that it can take for the call. */
async function readPrice(url: URL, provider: ResolvedProvider, { signal }: CommandContext): Promise<Usdc> {
  const info = new URL('/_/info', url)
  const { body } = await requestHttp({ url: info, bytesMax: limits.problemBytesMax * 4 }, signal)
  const parsed = providerInfoSchema.safeParse(parseJson(body))
  if (parsed.success && parsed.data.address === provider.address && provider.address !== zeroAddress)
    return parsed.data.price
  throw new ProtocolError('provider_answer_invalid', `${info.href} is not that of ${provider.name}.`, {
    hint: 'Name the provider with --provider where the address of the call does not begin with its name.',
  })
}
