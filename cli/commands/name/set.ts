import { parseContentCid } from '../../../protocol/ipfs/cid.ts'
import { parseProviderList } from '../../../protocol/ipfs/named-deployment.ts'
import { defineCommand, usageError } from '../../command.ts'
import { openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions, writeOptions } from '../../market/options.ts'
import { serverOptions } from '../../names/choose-deployment.ts'
import { pointName } from '../../names/point-name.ts'
import { readDeploymentName } from '../../names/read-name.ts'

export const nameSet = defineCommand({
  usage: 'name set <name> [cid]',
  details:
    'Points a name of yours to another deployment, or to other providers, in one transaction. Gateways follow within a\n' +
    'second of its block. Without [cid] the deployment stays; without --provider the providers stay. The old CID goes on\n' +
    'answering, and "name rollback" points the name back to it.',
  options: {
    ...serverOptions,
    'any-provider': { type: 'boolean', help: 'Let any provider serve it that does' },
    ...writeOptions,
    ...accountOptions,
    ...marketOptions,
  },
  examples: ['name set thumbs bafkrei…', 'name set thumbs --provider alice --provider carol --yes'],
  async run({ positionals: [text = '', cid], values }, context) {
    const { provider: wantedProviders, 'any-provider': isAny = false } = values
    if (isAny && wantedProviders !== undefined)
      throw usageError('--provider and --any-provider exclude each other.', 'Leave one of them out.')
    if (cid === undefined && wantedProviders === undefined && !isAny)
      throw usageError(
        'There is nothing to change.',
        'Usage: khachapuri name set <name> [cid] [--provider <name>]',
      )
    const writer = await openWriter(values, context)
    const named = await readDeploymentName(text, writer, context)
    const wanted = {
      cid: cid === undefined ? named.cid : parseContentCid(cid),
      providers: isAny
        ? []
        : wantedProviders
          ? parseProviderList(wantedProviders.join(' '))
          : named.providers,
    }
    await pointName({ named, wanted, writer, flags: values }, context)
  },
})
