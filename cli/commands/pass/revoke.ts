import { type Hex, isHex } from 'viem'
import { z } from 'zod'
import { isProtocolError, ProtocolError } from '../../../protocol/errors.ts'
import { passRevocationPath, signPassRevocation } from '../../../protocol/pass-revocation.ts'
import { type CommandContext, defineCommand, usageError } from '../../command.ts'
import { askProvider, type ProviderPlace } from '../../market/ask-provider.ts'
import { providerUrl, readGatewayInfo } from '../../market/market.ts'
import { openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions, pinOptions } from '../../market/options.ts'
import { marketKey, resolveProvider } from '../../market/resolve-provider.ts'
import type { Writer } from '../../market/write.ts'
import { markRevoked, type PassRecord, readPassRecords } from '../../passes/pass-records.ts'

/** What is to be revoked, and where. */
interface Target {
  readonly id: Hex
  readonly validBefore: number
  readonly providers: readonly string[]
}

/** Of a pass of which nothing is known but its id: it is remembered for good. */
const forEver = 2 ** 40

export const passRevoke = defineCommand({
  usage: 'pass revoke [id]',
  details:
    'Takes a pass back. The account signs that it is revoked, and each of its providers is told: from its answer on the pass\n' +
    'pays for nothing there, over restarts, too; calls that came before are paid. Nothing goes on chain. The id, or its first\n' +
    'digits, is in "pass list"; a pass that was made elsewhere needs its whole id and --provider. It is safe to do it again.',
  options: {
    all: { type: 'boolean', help: 'All passes that were made here and have not ended' },
    provider: {
      type: 'string',
      multiple: true,
      value: '<name>',
      help: 'Who is to be told (default: all providers of the pass)',
    },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
  },
  examples: ['pass revoke 0x3f9a21c07b', 'pass revoke --all --account payer'],
  async run({ positionals: [named], values }, context) {
    if ((named === undefined) === !values.all)
      throw usageError(
        'Say which pass, or --all.',
        'Usage: khachapuri pass revoke <id>; see "khachapuri pass list".',
      )
    const writer = await openWriter(values, context)
    const key = await marketKey(writer, context.signal)
    const records = (await readPassRecords(key, context)).filter(
      ({ payer }) => payer === writer.account.address,
    )
    const targets = chooseTargets(named, { records, providers: values.provider, context })
    const { domain } = await readGatewayInfo(writer.market.gateway, context.signal)
    const acceptIdentity = values['accept-identity'] ?? false
    const done: Outcome[] = []
    for (const target of targets) {
      const token = await signTarget(target, writer)
      for (const name of target.providers) {
        done.push(await tell({ ...target, name, token, domain, acceptIdentity }, writer, context))
      }
      const told = done.flatMap(({ id, address }) => (id === target.id && address ? [address] : []))
      await markRevoked(key, { id: target.id, providers: told }, context)
    }
    report(done, context)
  },
})

function chooseTargets(
  named: string | undefined,
  {
    records,
    providers,
    context,
  }: { records: readonly PassRecord[]; providers: readonly string[] | undefined; context: CommandContext },
): Target[] {
  const toTarget = ({ id, validBefore, ...record }: PassRecord): Target => ({
    id,
    validBefore,
    providers: providers ?? record.providers.map(({ name }) => name),
  })
  if (named === undefined) {
    const nowSeconds = Math.floor(context.clock.nowMs() / 1000)
    return records.filter(({ validBefore }) => validBefore > nowSeconds).map(toTarget)
  }
  const wanted = named.toLowerCase()
  if (!isHex(wanted) || wanted.length < 10 || wanted.length > 66) {
    throw usageError(
      // A token is money: it is not repeated here.
      `${named.startsWith('kp1.') ? 'A token' : JSON.stringify(named.slice(0, 80))} is not the id of a pass.`,
      'Take it from "khachapuri pass list": 0x and at least eight digits.',
    )
  }
  const found = records.filter(({ id }) => id.startsWith(wanted))
  if (found.length === 1) return found.map(toTarget)
  if (found.length > 1)
    throw usageError(`${found.length} passes begin with ${wanted}.`, 'Write more of its digits.')
  if (wanted.length === 66 && providers) return [{ id: wanted, validBefore: forEver, providers }]
  throw usageError(
    `No pass of this account that begins with ${wanted.slice(0, 12)} was made here.`,
    'Write its whole id and --provider <name>; "khachapuri pass list --provider <name>" shows what was used there.',
  )
}

function signTarget({ id, validBefore }: Target, { account, market }: Writer): Promise<string> {
  const { chainId, contracts } = market
  return signPassRevocation({ payer: account.address, id, validBefore }, account, {
    chainId,
    escrow: contracts.escrow,
  })
}

interface Outcome {
  readonly id: Hex
  readonly name: string
  /** Of the provider that keeps the revocation now. */
  readonly address: `0x${string}` | undefined
  readonly error: ProtocolError | undefined
}

interface Order extends Target {
  readonly name: string
  readonly token: string
  readonly domain: string
  readonly acceptIdentity: boolean
}

const answerSchema = z.object({ isRevoked: z.literal(true) })

/** Every provider is told, whatever the others say. */
async function tell(
  { id, name, token, domain, acceptIdentity }: Order,
  writer: Writer,
  context: CommandContext,
): Promise<Outcome> {
  try {
    const { address } = await resolveProvider(name, { ...writer, acceptIdentity }, context)
    const place: ProviderPlace = { name, address, url: providerUrl(writer.market.gateway, domain, name) }
    const request = { url: new URL(passRevocationPath, place.url), body: token }
    await askProvider(place, request, answerSchema, context.signal)
    return { id, name, address, error: undefined }
  } catch (error) {
    if (!isProtocolError(error)) throw error
    return { id, name, address: undefined, error }
  }
}

function report(done: readonly Outcome[], { print }: CommandContext): void {
  const facts = done.map(({ id, name, error }) => ({
    id,
    provider: name,
    isRevoked: error === undefined,
    ...(error && { code: error.code, detail: error.message }),
  }))
  const failed = done.filter(({ error }) => error !== undefined)
  const [first] = failed
  if (!first?.error) {
    const lines = done.map(({ id, name }) => `${id.slice(0, 12)} pays for nothing at ${name} any more.`)
    print(lines.join('\n') || 'There is no pass to revoke.', { passes: facts })
    return
  }
  const where = failed.map(({ id, name, error }) => `${id.slice(0, 12)} at ${name} (${error?.code})`)
  throw new ProtocolError(first.error.code, `Not revoked: ${where.join(', ')}. ${first.error.message}`, {
    hint: `${first.error.hint} Ending the grant stops all of its passes: khachapuri revoke ${first.name}.`,
    details: { passes: facts },
  })
}
