import { defineCommand } from '../command.ts'
import { readAccountAddress, readSigner } from '../keys/account.ts'
import { formatGrant, readOpenGrant } from '../market/escrow.ts'
import { openMarket } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions, signerOptions } from '../market/options.ts'
import { resolveProvider } from '../market/resolve-provider.ts'

export const allowance = defineCommand({
  usage: 'allowance <provider>',
  details: 'The grant of the account that would sign.',
  options: { ...signerOptions, ...accountOptions, ...marketOptions, ...pinOptions },
  examples: ['allowance alice', 'allowance bob --account payer --json'],
  async run({ positionals: [name = ''], values }, context) {
    const at = await openMarket(values, context)
    const payer = await readAccountAddress(undefined, values, at.market, context)
    const signer = await readSigner(values, at.market, context)
    const resolving = { ...at, acceptIdentity: values['accept-identity'] ?? false }
    const provider = await resolveProvider(name, resolving, context)
    const grant = await readOpenGrant(at, { payer, provider: provider.address, signer }, context.signal)
    const text = grant
      ? formatGrant(grant, provider.name)
      : `${payer} has no open grant for ${provider.name}. Make one: khachapuri approve ${provider.name} --price <usdc> --budget <usdc>`
    context.print(text, { payer, provider: provider.address, name: provider.name, grant: grant ?? null })
  },
})
