import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { resolverCalls } from '../../protocol/chain/calls.ts'
import { readExpiry } from '../../protocol/chain/registry.ts'
import type { NamedDeployment } from '../../protocol/ipfs/named-deployment.ts'
import { limits } from '../../protocol/limits.ts'
import type { Name } from '../../protocol/name.ts'
import type { CommandContext } from '../command.ts'
import { requestHttp } from '../http.ts'
import { readGatewayInfo } from '../market/market.ts'
import type { WriteFlags } from '../market/options.ts'
import { carryOut, type Writer } from '../market/write.ts'
import { askServers, toRecords, type WantedDeployment } from './choose-deployment.ts'
import { assertOwner, readDeploymentName } from './read-name.ts'
import { showName } from './show-name.ts'

export interface Pointing {
  readonly named: NamedDeployment
  readonly wanted: WantedDeployment
  readonly writer: Writer
  readonly flags: WriteFlags
}

/** A name as it is then, for people and for programs. */
export interface PointedName {
  readonly text: string
  readonly facts: Readonly<Record<string, unknown>>
}

/** Points a name to another deployment or other providers, and prints it as it is then. @throws ProtocolError `name_taken` */
export async function pointName(pointing: Pointing, context: CommandContext): Promise<void> {
  const pointed = await changeName(pointing, context)
  if (pointed) context.print(pointed.text, pointed.facts)
}

/** The same without a word. @returns undefined where nothing was to be done in earnest */
export async function changeName(
  { named, wanted, writer, flags }: Pointing,
  context: CommandContext,
): Promise<PointedName | undefined> {
  const { name, resolver } = named
  const { market, client, account } = writer
  assertOwner(named, account.address)
  const gateway = await readGatewayInfo(market.gateway, context.signal)
  const at = { market, domain: gateway.domain }
  const { registry } = market.contracts
  const expiry = await readExpiry(client, { registry, name }, context.signal)
  const before = toRecords(named)
  const after = toRecords(wanted)
  if (before.cid === after.cid && before.providers === after.providers) {
    const [text, facts] = showName(named, { ...at, expiry })
    return { text: `${text}\nIt is so already.`, facts: { ...facts, before: before.cid, transactions: [] } }
  }
  await askServers(wanted, { at: writer, gateway }, context)
  const plan = {
    title: `Point ${name} to ${after.cid}`,
    lines: [
      ['until now', before.cid],
      ['providers', after.providers === '' ? 'any that serves it' : after.providers],
    ],
    facts: { name, before: before.cid, cid: after.cid, providers: wanted.providers },
    calls: [resolverCalls(resolver).setDeployment(name, after)],
  } as const
  const transactions = await carryOut(plan, { writer, flags }, context)
  if (!transactions) return undefined
  const isFollowed = await awaitGateway(name, { market, ...after }, context)
  const [text, facts] = showName(await readDeploymentName(name, writer, context), { ...at, expiry })
  if (!isFollowed)
    context.note(`${market.gateway.host} has not followed yet; it looks for changes by itself.`)
  return { text, facts: { ...facts, before: before.cid, transactions, isFollowed } }
}

const shownSchema = z.object({ cid: z.string(), providers: z.array(z.string()) })

/** Waits for a moment until the gateway goes by it. @returns whether it does */
async function awaitGateway(
  name: Name,
  { market, cid, providers }: { market: Writer['market']; cid: string; providers: string },
  { clock, signal }: CommandContext,
): Promise<boolean> {
  const url = new URL(`/_/names/${name}`, market.gateway)
  const untilMs = clock.monotonicMs() + limits.nameFollowWaitMs
  while (clock.monotonicMs() < untilMs) {
    const answer = await requestHttp({ url, bytesMax: limits.problemBytesMax * 4 }, signal).catch(
      () => undefined,
    )
    signal.throwIfAborted()
    const shown = shownSchema.safeParse(answer && parseJson(answer.body))
    if (shown.success && shown.data.cid === cid && shown.data.providers.join(',') === providers) return true
    await clock.sleep(limits.nameFollowPollMs, signal)
  }
  return false
}
