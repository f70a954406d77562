import { readContentHistory } from '../../../protocol/chain/name-history.ts'
import { isProtocolError, ProtocolError } from '../../../protocol/errors.ts'
import type { CID } from '../../../protocol/ipfs/cid.ts'
import { parseContenthash } from '../../../protocol/ipfs/contenthash.ts'
import type { NamedDeployment } from '../../../protocol/ipfs/named-deployment.ts'
import { type CommandContext, defineCommand } from '../../command.ts'
import { parseCount } from '../../duration.ts'
import { type OpenMarket, openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions, writeOptions } from '../../market/options.ts'
import { pointName } from '../../names/point-name.ts'
import { readDeploymentName } from '../../names/read-name.ts'

export const nameRollback = defineCommand({
  usage: 'name rollback <name>',
  details:
    'Points a name of yours back to the CID that it stood for before this one, with the providers of now. Doing it twice\n' +
    'comes back to where it was. For an older one: "name set <name> <cid>".',
  options: {
    'from-block': {
      type: 'string',
      value: '<n>',
      default: '0',
      help: 'How far back to look: the block of the registration',
    },
    ...writeOptions,
    ...accountOptions,
    ...marketOptions,
  },
  examples: ['name rollback thumbs', 'name rollback thumbs --yes --json'],
  async run({ positionals: [text = ''], values }, context) {
    const fromBlock = BigInt(
      parseCount('from-block', values['from-block'], { min: 0, max: Number.MAX_SAFE_INTEGER }),
    )
    const writer = await openWriter(values, context)
    const named = await readDeploymentName(text, writer, context)
    const cid = await findBefore(named, { at: writer, fromBlock }, context)
    const wanted = { cid, providers: named.providers }
    await pointName({ named, wanted, writer, flags: values }, context)
  },
})

/** @throws ProtocolError `version_unknown` */
async function findBefore(
  { name, resolver, cid: current }: NamedDeployment,
  { at, fromBlock }: { readonly at: OpenMarket; readonly fromBlock: bigint },
  { signal }: CommandContext,
): Promise<CID> {
  for await (const { contenthash } of readContentHistory(at.client, { resolver, name, fromBlock }, signal)) {
    const cid = readContent(contenthash)
    if (cid && !cid.equals(current)) return cid
  }
  throw new ProtocolError('version_unknown', `The name "${name}" has stood for nothing else.`, {
    hint: 'Point it to a CID: khachapuri name set <name> <cid>. "khachapuri versions" lists those of a program.',
  })
}

function readContent(contenthash: Uint8Array): CID | undefined {
  try {
    return parseContenthash(contenthash)
  } catch (error) {
    if (isProtocolError(error)) return undefined
    throw error
  }
}
