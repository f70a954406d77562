import { domainRecordName } from '../../../protocol/ipfs/domain-record.ts'
import { defineCommand, usageError } from '../../command.ts'
import { changeDevZone } from '../../domains/dev-zone.ts'
import { parseDomain } from '../../domains/find-domain.ts'
import { findMarket } from '../../market/market.ts'
import { marketOptions } from '../../market/options.ts'

export const domainRemove = defineCommand({
  usage: 'domain remove <domain>',
  details: 'Takes a domain of a local market away again. Elsewhere it is your TXT record that you remove.',
  options: marketOptions,
  examples: ['domain remove oracle.test'],
  async run({ positionals: [text = ''], values }, context) {
    const domain = parseDomain(text)
    const { zone: path } = await findMarket(values, context)
    if (path === undefined) {
      throw usageError(
        'The domains of this gateway are in the DNS.',
        `Remove the TXT record ${domainRecordName(domain)}; gateways follow within a minute.`,
      )
    }
    await changeDevZone(path, (zone) =>
      Object.fromEntries(Object.entries(zone).filter(([name]) => name !== domain)),
    )
    context.print(`${domain} is no domain of this market any more; its gateway follows within a minute.`, {
      domain,
    })
  },
})
