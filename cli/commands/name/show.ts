import { readExpiry } from '../../../protocol/chain/registry.ts'
import { defineCommand } from '../../command.ts'
import { readGatewayInfo } from '../../market/market.ts'
import { openMarket } from '../../market/open.ts'
import { marketOptions } from '../../market/options.ts'
import { readDeploymentName } from '../../names/read-name.ts'
import { showName } from '../../names/show-name.ts'

export const nameShow = defineCommand({
  usage: 'name show <name>',
  details:
    "What a deployment's name stands for, who serves it and until when it is whose. Read from the chain.",
  options: marketOptions,
  examples: ['name show thumbs', 'name show thumbs --json'],
  async run({ positionals: [text = ''], values }, context) {
    const at = await openMarket(values, context)
    const named = await readDeploymentName(text, at, context)
    const { domain } = await readGatewayInfo(at.market.gateway, context.signal)
    const place = { registry: at.market.contracts.registry, name: named.name }
    const expiry = await readExpiry(at.client, place, context.signal)
    context.print(...showName(named, { market: at.market, domain, expiry }))
  },
})
