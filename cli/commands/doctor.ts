import { createLog } from '../../protocol/base/log.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { createDnsLookup } from '../../provider/egress/lookup-names.ts'
import { openRuntimes } from '../../provider/runtime/open-runtimes.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { readAccountAddress } from '../keys/account.ts'
import { connectChain } from '../market/chain.ts'
import { findMarket, type MarketPlace, readGatewayInfo } from '../market/market.ts'
import { type AccountFlags, accountOptions, type MarketFlags, marketOptions } from '../market/options.ts'
import { formatChecks, type ShownCheck } from '../verify/assert-holds.ts'
import { version } from '../version.ts'

export const doctor = defineCommand({
  usage: 'doctor',
  details:
    'Looks at what the other commands need here: the sandbox attacks its own walls, as at the start of a provider; gateway and\n' +
    'chain of the market are asked; the account that would sign is named. One line for each: "ok", "WRONG" with what to do,\n' +
    'or "-" for what is not set up. Nothing is changed; no password is asked for. Ends with 1 where something is wrong.',
  options: { ...accountOptions, ...marketOptions },
  examples: ['doctor', 'doctor --gateway https://market.example --rpc https://rpc.example --json'],
  async run({ values }, context) {
    const checks: readonly ShownCheck[] = [
      { name: 'version', verdict: 'ok', says: `${version} on Node ${process.versions.node}` },
      await checkSandbox(context),
      ...(await checkMarket(values, context)),
    ]
    const wrong = checks.filter(({ verdict }) => verdict === 'wrong')
    if (wrong.length === 0) return context.print(formatChecks(checks), { checks })
    context.note(formatChecks(checks))
    throw new ProtocolError('config_invalid', `Wrong here: ${wrong.map(({ name }) => name).join(', ')}.`, {
      hint: 'The lines say what to do.',
      details: { checks },
    })
  },
})

/** A provider runs strangers' programs only where no wall fell. */
async function checkSandbox({ clock, signal }: CommandContext): Promise<ShownCheck> {
  return attempt('sandbox', async () => {
    const log = createLog({ level: 'silent' })
    const network = { lookup: createDnsLookup(), allowPrivate: false }
    await using opened = await openRuntimes(
      { clock, log, network },
      { zygotes: 1, native: undefined },
      signal,
    )
    const probes = await Promise.all(opened.runtimes.map((runtime) => runtime.probe(signal)))
    const isContained = probes.every(({ tier }) => tier === 'sandbox')
    const reasons = [...new Set(probes.flatMap((probe) => probe.reasons))]
    if (isContained)
      return [[...new Set(probes.map(({ engine }) => engine))].join(', '), ...reasons].join('; ')
    throw new ProtocolError('sandbox_unavailable', reasons.join(' '), {
      hint: 'Only your own programs, and those of development chains, run like this: docs/isolation.md says what is needed.',
    })
  })
}

async function checkMarket(
  flags: MarketFlags & AccountFlags,
  context: CommandContext,
): Promise<readonly ShownCheck[]> {
  const { signal } = context
  let market: MarketPlace
  try {
    market = await findMarket(flags, context)
  } catch (error) {
    return [toCheck('market', error)]
  }
  return [
    await attempt('gateway', async () => {
      const { domain } = await readGatewayInfo(market.gateway, signal)
      return `${market.gateway.origin}, whose providers are at <name>.${domain}`
    }),
    await attempt('chain', async () => {
      const client = await connectChain(market, signal)
      const { number } = await reachChain(client.getBlock(), 'read the newest block', signal)
      return `${market.chainId} at block ${number}`
    }),
    await checkAccount(flags, market, context),
  ]
}

/** Some commands need none; one that is named has to be there. */
async function checkAccount(
  flags: AccountFlags,
  market: MarketPlace,
  context: CommandContext,
): Promise<ShownCheck> {
  try {
    const address = await readAccountAddress(undefined, flags, market, context)
    return { name: 'account', verdict: 'ok', says: address }
  } catch (error) {
    const check = toCheck('account', error)
    const isNone = flags.account === undefined && isProtocolError(error) && error.code === 'key_missing'
    return isNone ? { ...check, verdict: 'open' } : check
  }
}

async function attempt(name: string, look: () => Promise<string>): Promise<ShownCheck> {
  try {
    return { name, verdict: 'ok', says: await look() }
  } catch (error) {
    return toCheck(name, error)
  }
}

function toCheck(name: string, error: unknown): ShownCheck {
  if (!isProtocolError(error)) throw error
  return { name, verdict: 'wrong', says: `${error.message} ${error.hint}` }
}
