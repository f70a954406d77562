import { zeroAddress } from 'viem'
import { parseJson } from '../../protocol/canonical-json.ts'
import { readGrant } from '../../protocol/chain/escrow.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { providerInfoSchema } from '../../protocol/provider.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { openTab } from '../../protocol/voucher-client.ts'
import { createVoucherSession, type VoucherSession } from '../../protocol/voucher-session.ts'
import { signVoucherAccess } from '../../protocol/voucher-token.ts'
import type { CommandContext } from '../command.ts'
import { requestHttp } from '../http.ts'
import { readAccountAddress } from '../keys/account.ts'
import { marketKey, type ResolvedProvider } from '../market/resolve-provider.ts'
import type { Writer } from '../market/write.ts'
import { createTabFile } from './tab-file.ts'

export interface SessionWish {
  /** Whose grant it is, where the account is a session key: its address or name. */
  readonly payer: string | undefined
  readonly maxPriceUsdc: Usdc | undefined
  readonly windowCalls: number
}

/**
 * The vouchers of an account for one provider, as `vouchers.json` remembers them and the chain began them.
 *
 * @throws ProtocolError `grant_missing`, once it is used
 */
export async function openSession(
  provider: ResolvedProvider,
  { payer: payerText, maxPriceUsdc, windowCalls }: SessionWish,
  writer: Writer,
  context: CommandContext,
): Promise<VoucherSession & { requireGrant(): Promise<Grant> }> {
  const { account: signer, market: place, client } = writer
  const payer =
    payerText === undefined ? signer.address : await readAccountAddress(payerText, {}, place, context)
  const market = { chainId: place.chainId, escrow: place.contracts.escrow }
  const key = { payer, provider: provider.address, signer: signer.address }

  const readGrantNow = () => readGrant(client, market.escrow, key, context.signal)
  async function requireGrant() {
    const grant = await readGrantNow()
    if (grant) return grant
    throw new ProtocolError(
      'grant_missing',
      `${payer} has no grant for ${provider.name} that ${signer.address} signs vouchers for.`,
      {
        hint: `khachapuri approve ${provider.name} --signer ${signer.address} --price <usdc> --budget <usdc>`,
      },
    )
  }
  const tabKey = [await marketKey(writer, context.signal), payer, provider.address, signer.address].join('/')
  const openFirst = async () => openTab(await requireGrant())
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
  return { ...session, requireGrant }
}

/** What the provider asks for one call. It is its own word, and all that it can take for the call. */
export async function readPrice(
  url: URL,
  provider: ResolvedProvider,
  { signal }: CommandContext,
): Promise<Usdc> {
  const info = new URL('/_/info', url)
  const { body } = await requestHttp({ url: info, bytesMax: limits.problemBytesMax * 4 }, signal)
  const parsed = providerInfoSchema.safeParse(parseJson(body))
  if (parsed.success && parsed.data.address === provider.address && provider.address !== zeroAddress)
    return parsed.data.price
  throw new ProtocolError('provider_answer_invalid', `${info.href} is not that of ${provider.name}.`, {
    hint: 'Name the provider with --provider where the address of the call does not begin with its name.',
  })
}
