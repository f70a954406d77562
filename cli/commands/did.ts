import { verifyPossession } from '../../protocol/attestation.ts'
import { attestKeyOfDocument, didPath, readDidDocument } from '../../protocol/did-document.ts'
import { limits } from '../../protocol/limits.ts'
import { defineCommand } from '../command.ts'
import { askPage } from '../market/ask-page.ts'
import { openMarket } from '../market/open.ts'
import { marketOptions, pinOptions } from '../market/options.ts'
import { resolveProvider } from '../market/resolve-provider.ts'

export const did = defineCommand({
  usage: 'did <name>',
  details:
    'Fetches the DID document (did:web) of a provider and holds it against the chain: that the account which the Resolver names\n' +
    'signed it, for the endpoint and the key that stand there now. Ends with 1 where one of them does not hold.',
  options: { ...marketOptions, ...pinOptions },
  examples: ['did alice', 'did bob --json'],
  async run({ positionals: [text = ''], values }, context) {
    const at = await openMarket(values, context)
    const acceptIdentity = values['accept-identity'] ?? false
    const record = await resolveProvider(text, { ...at, acceptIdentity }, context)
    const body = await askPage(
      { ...at, name: record.name, path: didPath, bytesMax: limits.didBytesMax },
      context,
    )
    const { chainId, contracts } = at.market
    const document = await readDidDocument(body, {
      record,
      kid: record.sealKey.kid,
      registry: contracts.registry,
      market: { chainId, escrow: contracts.escrow },
      nowSeconds: Math.floor(context.clock.nowMs() / 1000),
    })
    const { id, proof, service, verificationMethod } = document
    const attestKey = attestKeyOfDocument(document)
    const isPossessed = attestKey !== undefined && verifyPossession(attestKey)
    const methods = verificationMethod.map(({ id: method, type, publicKeyJwk }) => {
      const kind = publicKeyJwk ? [publicKeyJwk.kty, publicKeyJwk.crv].filter(Boolean).join(' ') : type
      if (method.endsWith('#attest') && attestKey)
        return `  key       #attest BLS12-381 G1 ${attestKey.publicKey}${isPossessed ? ', proved to be its own' : ', NOT proved to be its own'}`
      return `  key       ${method.slice(id.length)} ${kind}`
    })
    context.print(
      [
        id,
        `  account   ${record.address}, as the chain says`,
        ...methods,
        ...service.map(({ type, serviceEndpoint }) => `  service   ${type} ${serviceEndpoint}`),
        `  proof     signed by the account for ${JSON.stringify(proof.endpoint)}, holds until ${until(proof.validBefore)}`,
      ].join('\n'),
      {
        name: record.name,
        address: record.address,
        blockNumber: Number(record.blockNumber),
        attestKey: attestKey ?? null,
        document,
      },
    )
  },
})

const until = (seconds: number) => new Date(seconds * 1000).toISOString()
