import { listRegisteredNames } from '../../../protocol/chain/name-history.ts'
import { readExpiry } from '../../../protocol/chain/registry.ts'
import { isProtocolError } from '../../../protocol/errors.ts'
import { parseNamedDeployment } from '../../../protocol/ipfs/named-deployment.ts'
import type { Name } from '../../../protocol/name.ts'
import { type CommandContext, defineCommand } from '../../command.ts'
import { parseCount } from '../../duration.ts'
import { readAccountAddress } from '../../keys/account.ts'
import { formatTime } from '../../market/escrow.ts'
import { type OpenMarket, openMarket } from '../../market/open.ts'
import { accountOptions, marketOptions } from '../../market/options.ts'
import { readName } from '../../names/read-name.ts'

/** A name as it is listed; `cid` and `providers` are those of a deployment's. */
interface ListedName {
  readonly name: Name
  readonly kind: 'deployment' | 'provider' | 'invalid'
  readonly cid: string | null
  readonly providers: readonly string[]
  readonly expiry: number
}

export const nameList = defineCommand({
  usage: 'name list [account]',
  details:
    'The names that an account registered and owns, the newest first: those of deployments and those of providers. [account]\n' +
    'is an address or a name in the keystore; by default it is the account that would sign.',
  options: {
    'from-block': {
      type: 'string',
      value: '<n>',
      default: '0',
      help: 'Where to begin to read: the block of the registry',
    },
    ...accountOptions,
    ...marketOptions,
  },
  examples: ['name list', 'name list --account alice --json'],
  async run({ positionals: [named], values }, context) {
    const fromBlock = BigInt(
      parseCount('from-block', values['from-block'], { min: 0, max: Number.MAX_SAFE_INTEGER }),
    )
    const at = await openMarket(values, context)
    const owner = await readAccountAddress(named, values, at.market, context)
    const { registry } = at.market.contracts
    const names: ListedName[] = []
    for (const name of await listRegisteredNames(at.client, { registry, owner, fromBlock }, context.signal)) {
      const listed = await lookUp(name, owner, at, context)
      if (listed) names.push(listed)
    }
    context.print(formatNames(names) || `${owner} owns no name.`, { account: owner, names })
  },
})

/** @returns undefined where it is another account's now, or nobody's. */
async function lookUp(
  name: Name,
  owner: string,
  at: OpenMarket,
  context: CommandContext,
): Promise<ListedName | undefined> {
  const { registry } = at.market.contracts
  const expiry = await readExpiry(at.client, { registry, name }, context.signal)
  try {
    const record = await readName(name, at, context)
    if (record.owner !== owner) return undefined
    if (record.kind === 'provider') return { name, kind: 'provider', cid: null, providers: [], expiry }
    const { cid, providers } = parseNamedDeployment(record)
    return { name, kind: 'deployment', cid: cid.toString(), providers, expiry }
  } catch (error) {
    if (!isProtocolError(error)) throw error
    if (error.code === 'name_unknown') return undefined
    if (error.code !== 'name_records_invalid' && error.code !== 'provider_address_blocked') throw error
    return { name, kind: 'invalid', cid: null, providers: [], expiry }
  }
}

function formatNames(names: readonly ListedName[]): string {
  const width = Math.max(...names.map(({ name }) => name.length), 0)
  return names.map((listed) => `${listed.name.padEnd(width)}  ${formatOne(listed)}`).join('\n')
}

function formatOne({ kind, cid, providers, expiry }: ListedName): string {
  const until = `until ${formatTime(expiry)}`
  if (kind === 'provider') return `a provider's, ${until}`
  if (kind === 'invalid') return `its records are none, ${until}`
  return `${cid} at ${providers.length > 0 ? providers.join(', ') : 'any provider'}, ${until}`
}
