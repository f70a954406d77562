import type { Address } from 'viem'
import { createLog } from '../../protocol/base/log.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { type NamedDeployment, parseNamedDeployment } from '../../protocol/ipfs/named-deployment.ts'
import { type Name, type NameRecord, parseName } from '../../protocol/name.ts'
import type { CommandContext } from '../command.ts'
import type { OpenMarket } from '../market/open.ts'

/** What the chain says of a name. @throws ProtocolError `name_malformed`, `name_unknown`, `chain_unreachable` */
export async function readName(
  text: string,
  { market, client }: OpenMarket,
  { clock, signal }: Pick<CommandContext, 'clock' | 'signal'>,
): Promise<NameRecord> {
  const name = parseName(text)
  const { registry } = market.contracts
  const reader = createNameReader({ client, clock, log: createLog({ level: 'silent' }) }, { registry })
  const record = await reader.readName(name, signal)
  if (record) return record
  throw new ProtocolError('name_unknown', `Nobody has registered the name "${name}".`, {
    hint: `Register it: khachapuri name register ${name} <cid> --provider <name>.`,
  })
}

/** The same of a deployment. @throws ProtocolError `name_records_invalid`, too, for a provider's name */
export async function readDeploymentName(
  text: string,
  at: OpenMarket,
  context: CommandContext,
): Promise<NamedDeployment> {
  const record = await readName(text, at, context)
  if (record.kind === 'deployment') return parseNamedDeployment(record)
  throw new ProtocolError('name_records_invalid', `The name "${record.name}" is a provider's.`, {
    hint: `See "khachapuri resolve ${record.name}", or register another name for the deployment.`,
  })
}

/** @throws ProtocolError `name_taken` */
export function assertOwner(
  { name, owner }: { readonly name: Name; readonly owner: Address },
  account: Address,
): void {
  if (owner === account) return
  throw new ProtocolError('name_taken', `The name "${name}" belongs to ${owner}.`, {
    hint: 'Use the account of its owner with --account, or choose another name.',
    details: { name, owner },
  })
}
