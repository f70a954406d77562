import { resolverCalls } from '../../../protocol/chain/calls.ts'
import { createChainTime, createDevChainTime } from '../../../protocol/chain/chain-time.ts'
import { readExpiry } from '../../../protocol/chain/registry.ts'
import { isDevChain } from '../../../protocol/dev-chain.ts'
import { parseName } from '../../../protocol/name.ts'
import { assertRegistrable } from '../../../protocol/registration.ts'
import { registerName } from '../../../provider/register-name.ts'
import { defineCommand, usageError } from '../../command.ts'
import { readGatewayInfo } from '../../market/market.ts'
import { openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions } from '../../market/options.ts'
import { openSender } from '../../market/write.ts'
import { askServers, parseWanted, serverOptions, toRecords } from '../../names/choose-deployment.ts'
import { assertOwner, readDeploymentName } from '../../names/read-name.ts'
import { showName } from '../../names/show-name.ts'
import { prepareName } from '../../operate/prepare-name.ts'

export const nameRegister = defineCommand({
  usage: 'name register <name> <cid>',
  details:
    'Registers a name for a deployment: https://<name>.<gateway>/ is then served like https://<provider>.<gateway>/<cid>/,\n' +
    'by whichever of its providers is best at the moment. It is yours for a year ("name renew") and takes a bond, which\n' +
    'comes back when it is given back. "name set" points it to another CID; old CIDs go on answering.',
  options: {
    ...serverOptions,
    yes: { type: 'boolean', short: 'y', help: 'Register without a question' },
    ...accountOptions,
    ...marketOptions,
  },
  examples: [
    'name register thumbs bafkrei… --provider alice --provider bob',
    'name register greet bafkrei… --yes --json',
  ],
  async run({ positionals: [text = '', cid = ''], values }, context) {
    const name = parseName(text)
    assertRegistrable(name)
    const wanted = parseWanted(cid, values.provider ?? [])
    const writer = await openWriter(values, context)
    const { market, client, account } = writer
    const gateway = await readGatewayInfo(market.gateway, context.signal)
    await askServers(wanted, { at: writer, gateway }, context)
    const found = await prepareName({ ...writer, name, yes: values.yes ?? false }, context)
    if (found) {
      assertOwner(found, account.address)
      throw usageError(
        `The name "${name}" is yours already.`,
        `Change what it stands for: khachapuri name set ${name} <cid>.`,
      )
    }
    const { clock, signal } = context
    const { registry } = market.contracts
    const registered = await registerName(
      {
        client,
        chainTime: isDevChain(market)
          ? createDevChainTime({ client, clock })
          : createChainTime({ client, clock }),
        sender: openSender(writer, context),
        onProgress: (step) => context.note(`On chain: ${step}`),
      },
      {
        name,
        chainId: market.chainId,
        registry,
        // A deployment is nowhere by itself, and nothing is sealed for a name.
        server: '',
        publicKeyDer: new Uint8Array(),
        records: (resolver) => [resolverCalls(resolver).setDeployment(name, toRecords(wanted))],
      },
      signal,
    )
    const named = await readDeploymentName(name, writer, context)
    const expiry = await readExpiry(client, { registry, name }, signal)
    const [shown, facts] = showName(named, { market, domain: gateway.domain, expiry })
    context.print(shown, { ...facts, registered })
  },
})
