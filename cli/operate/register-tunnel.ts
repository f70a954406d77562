import { createLog } from '../../protocol/base/log.ts'
import { createChainTime, createDevChainTime } from '../../protocol/chain/chain-time.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { isDevChain } from '../../protocol/dev-chain.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { requireProvider } from '../../protocol/name.ts'
import { registerProvider } from '../../provider/register-provider.ts'
import type { CommandContext } from '../command.ts'
import { openSender } from '../market/write.ts'
import { type NamePreparation, prepareName } from './prepare-name.ts'

/**
 * Sees to it that an account has a name that a gateway takes its tunnel for. A name that it has already is left as it is:
 * the tunnel of a provider goes before its record for as long as it stands.
 *
 * @returns the labels of the transactions that it took
 * @throws ProtocolError `name_taken` where the name is another account's, and as `prepareName` and `registerProvider`
 */
export async function registerTunnel(
  preparation: NamePreparation & { readonly tunnelUrl: string },
  context: CommandContext,
): Promise<readonly string[]> {
  const { market, client, name, account, tunnelUrl } = preparation
  const { clock, signal } = context
  const prepared = await prepareName(preparation, context)
  const found = prepared && requireProvider(prepared, name)
  if (found && found.address !== account.address) {
    throw new ProtocolError('name_taken', `The name "${name}" is that of the account ${found.address}.`, {
      hint: 'Choose another one with --domain, or its account with --account.',
      details: { name, address: found.address },
    })
  }
  if (found) return []
  const log = createLog({ level: 'silent' })
  const { registry } = market.contracts
  return registerProvider(
    {
      client,
      chainTime: isDevChain(market)
        ? createDevChainTime({ client, clock })
        : createChainTime({ client, clock }),
      names: createNameReader({ client, clock, log }, { registry }),
      sender: openSender(preparation, context),
      onProgress: (step) => context.note(`On chain: ${step}`),
    },
    // Nothing is ever sealed for a service that runs no programs.
    { name, chainId: market.chainId, registry, server: tunnelUrl, publicKeyDer: new Uint8Array() },
    signal,
  )
}
