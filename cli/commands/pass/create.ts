import { randomBytes } from 'node:crypto'
import { toHex } from '../../../protocol/base/bytes.ts'
import { digestOfCid, parseContentCid } from '../../../protocol/ipfs/cid.ts'
import { limits } from '../../../protocol/limits.ts'
import { anyDeployment, type Pass, signPass } from '../../../protocol/pass.ts'
import { formatUsdc, parseUsdc } from '../../../protocol/usdc.ts'
import { type CommandContext, defineCommand, usageError } from '../../command.ts'
import { parseDuration } from '../../duration.ts'
import { readCredits } from '../../market/credits.ts'
import { formatTime, readOpenGrant } from '../../market/escrow.ts'
import { providerUrl, readGatewayInfo } from '../../market/market.ts'
import { openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions, payeeOptions, pinOptions } from '../../market/options.ts'
import { marketKey, type ResolvedProvider, resolveProvider } from '../../market/resolve-provider.ts'
import type { Writer } from '../../market/write.ts'
import { addPassRecord } from '../../passes/pass-records.ts'

/** Clocks differ a little; a pass should work at once. */
const clockSkewSeconds = 60

export const passCreate = defineCommand({
  usage: 'pass create',
  details:
    'Signs a token for plain curl; nothing goes on chain. Only the token is printed on standard output. Whoever has it\n' +
    'can spend up to --max-spend at each of the providers until it expires, from your grants for them.',
  options: {
    ...payeeOptions,
    'max-price': {
      type: 'string',
      isRequired: true,
      value: '<usdc>',
      help: 'The most that one call may cost',
    },
    'max-spend': {
      type: 'string',
      isRequired: true,
      value: '<usdc>',
      help: 'The most in all, at each provider',
    },
    deployment: { type: 'string', value: '<cid>', help: 'For this deployment only (default: any)' },
    expires: { type: 'string', value: '<time>', default: '1d', help: 'For how long it is valid' },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
  },
  examples: [
    'pass create --provider alice --max-price 0.001 --max-spend 0.1',
    'pass create --account payer --provider alice --provider bob --max-price 0.001 --max-spend 0.1 --expires 1h',
  ],
  async run({ values }, context) {
    const names = values.provider
    if (names.length > limits.passProvidersMax) {
      throw usageError(`A pass names at most ${limits.passProvidersMax} providers.`, 'Make several.')
    }
    const maxPricePerCall = parseUsdc(values['max-price'])
    const maxSpend = parseUsdc(values['max-spend'])
    const { deployment } = values
    const nowSeconds = Math.floor(context.clock.nowMs() / 1000)
    const validBefore = nowSeconds + parseDuration('expires', values.expires)
    const deploymentDigest =
      deployment === undefined ? anyDeployment : toHex(digestOfCid(parseContentCid(deployment)))
    const writer = await openWriter(values, context)
    const providers: ResolvedProvider[] = []
    for (const name of names) {
      const resolving = { ...writer, acceptIdentity: values['accept-identity'] ?? false }
      providers.push(await resolveProvider(name, resolving, context))
    }
    const { market, account } = writer
    const pass = {
      payer: account.address,
      providers: providers.map(({ address }) => address),
      deployment: deploymentDigest,
      maxPricePerCall,
      maxSpend,
      validAfter: nowSeconds - clockSkewSeconds,
      validBefore,
      id: toHex(randomBytes(32)),
    }
    await keepRecord({ pass, providers, nowSeconds }, writer, context)
    const token = await signPass(pass, account, { chainId: market.chainId, escrow: market.contracts.escrow })
    await warnOfMissingGrants(writer, providers, context)
    const { domain } = await readGatewayInfo(market.gateway, context.signal)
    const urls = providers.map(
      ({ name }) => `${providerUrl(market.gateway, domain, name)}${deployment ?? '<cid>'}/`,
    )
    context.note(
      `Pays up to ${formatUsdc(maxPricePerCall)} USDC per call and ${formatUsdc(maxSpend)} USDC in all, until ${formatTime(validBefore)}. Use it:\n` +
        `  curl -H "Authorization: Bearer $PASS" ${urls[0]}\n` +
        `Take it back: khachapuri pass revoke ${pass.id.slice(0, 12)}`,
    )
    context.print(token, { token, ...pass, urls })
  },
})

/** Without its token: what is needed to list the pass, and to take it back. */
async function keepRecord(
  { pass, providers, nowSeconds }: { pass: Pass; providers: readonly ResolvedProvider[]; nowSeconds: number },
  writer: Writer,
  context: CommandContext,
): Promise<void> {
  const { id, payer, deployment, maxPricePerCall, maxSpend, validBefore } = pass
  const record = {
    ...{ id, payer, deployment, maxPricePerCall, maxSpend, validBefore, createdAt: nowSeconds },
    providers: providers.map(({ name, address }) => ({ name, address, revokedAt: null })),
  }
  if (await addPassRecord(await marketKey(writer, context.signal), record, context)) return
  context.note(`passes.json is full. Write down this pass's id, to take it back: ${id}`)
}

/** A pass without a grant is signed all the same: the grant may come later, and from elsewhere. */
async function warnOfMissingGrants(
  writer: Writer,
  providers: readonly ResolvedProvider[],
  { note, signal }: CommandContext,
): Promise<void> {
  for (const { name, address } of providers) {
    const { address: payer } = writer.account
    if (await readOpenGrant(writer, { payer, provider: address }, signal)) continue
    const { granted, used } = await readCredits(writer, { provider: address, user: payer }, signal)
    if (granted > used) {
      note(`${name} gave ${payer} ${granted} trial calls, and the pass makes those that are left of them.`)
      continue
    }
    note(
      `Warning: ${writer.account.address} has no grant for ${name} yet, so nothing can be paid with the pass there.\n` +
        `  khachapuri approve ${name} --price <usdc> --budget <usdc>`,
    )
  }
}
