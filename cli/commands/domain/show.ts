import { defineCommand } from '../../command.ts'
import { findDomain, parseDomain } from '../../domains/find-domain.ts'
import { findMarket } from '../../market/market.ts'
import { marketOptions } from '../../market/options.ts'

export const domainShow = defineCommand({
  usage: 'domain show <domain>',
  details: 'What a gateway finds a domain to stand for, looked up anew at its name servers.',
  options: marketOptions,
  examples: ['domain show oracle.test', 'domain show www.example.org --json'],
  async run({ positionals: [text = ''], values }, context) {
    const market = await findMarket(values, context)
    const found = await findDomain(parseDomain(text), market, context)
    const { domain, name, cid, providers = [] } = found
    const at = providers.length > 0 ? providers.join(', ') : 'any provider'
    context.print(name === undefined ? `${domain}  ${cid} at ${at}` : `${domain}  the name ${name}`, {
      ...found,
    })
  },
})
