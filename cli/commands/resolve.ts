import { defineCommand } from '../command.ts'
import { providerUrl, readGatewayInfo } from '../market/market.ts'
import { openMarket } from '../market/open.ts'
import { marketOptions, pinOptions } from '../market/options.ts'
import { resolveProvider } from '../market/resolve-provider.ts'

export const resolve = defineCommand({
  usage: 'resolve <name>',
  details:
    'What the chain says of a provider: Registry, then Resolver. Its account and key are held to the first meeting.',
  options: { ...marketOptions, ...pinOptions },
  examples: ['resolve alice', 'resolve bob --json'],
  async run({ positionals: [text = ''], values }, context) {
    const at = await openMarket(values, context)
    const resolving = { ...at, acceptIdentity: values['accept-identity'] ?? false }
    const { name, owner, resolver, address, server, publicKey, sealKey, blockNumber } = await resolveProvider(
      text,
      resolving,
      context,
    )
    const { domain } = await readGatewayInfo(at.market.gateway, context.signal)
    const { href: url } = providerUrl(at.market.gateway, domain, name)
    context.print(
      [
        name,
        `  account   ${address}`,
        `  server    ${JSON.stringify(server)}`,
        `  key       ${sealKey.kid}`,
        `  owner     ${owner}`,
        `  resolver  ${resolver}`,
        `  url       ${url}`,
      ].join('\n'),
      {
        name,
        address,
        server,
        kid: sealKey.kid,
        publicKey: Buffer.from(publicKey).toString('base64'),
        owner,
        resolver,
        url,
        blockNumber: Number(blockNumber),
      },
    )
  },
})
