import { randomBytes } from 'node:crypto'
import { limits } from '../../protocol/limits.ts'
import { pingPath, readPing } from '../../protocol/ping.ts'
import { defineCommand } from '../command.ts'
import { askPage } from '../market/ask-page.ts'
import { openMarket } from '../market/open.ts'
import { marketOptions, pinOptions } from '../market/options.ts'
import { resolveProvider } from '../market/resolve-provider.ts'

export const ping = defineCommand({
  usage: 'ping <name>',
  details:
    'Asks a provider through the gateway whether it is alive. The answer is signed for this very question by a key that the\n' +
    'account vouched for which the chain names, so nobody in between can have made it. Its clock is compared with the one here.',
  options: { ...marketOptions, ...pinOptions },
  examples: ['ping alice', 'ping bob --json'],
  async run({ positionals: [text = ''], values }, context) {
    const at = await openMarket(values, context)
    const acceptIdentity = values['accept-identity'] ?? false
    const { name, address } = await resolveProvider(text, { ...at, acceptIdentity }, context)
    const nonce = randomBytes(16).toString('hex')
    const { clock } = context
    const sentMs = clock.nowMs()
    const startedMs = clock.monotonicMs()
    const path = `${pingPath}?nonce=${nonce}`
    const body = await askPage({ ...at, name, path, bytesMax: limits.pingBytesMax }, context)
    const roundTripMs = Math.round(clock.monotonicMs() - startedMs)
    const { chainId, contracts } = at.market
    const said = await readPing(body, {
      ...{ provider: address, nonce },
      market: { chainId, escrow: contracts.escrow },
    })
    // It was signed about in the middle.
    const skewMs = Math.round(Date.parse(said.time) - (sentMs + roundTripMs / 2))
    context.print(
      [
        `${name} is alive.`,
        `  account     ${address}, signed`,
        `  version     ${said.version}`,
        `  time        ${said.time}`,
        `  clock       ${describeSkew(skewMs, roundTripMs)}`,
        `  round trip  ${roundTripMs} ms`,
      ].join('\n'),
      { name, address, alive: true, version: said.version, time: said.time, skewMs, roundTripMs },
    )
  },
})

/** Within half a round trip nobody can tell two clocks apart. */
function describeSkew(skewMs: number, roundTripMs: number): string {
  if (Math.abs(skewMs) <= Math.max(1, roundTripMs / 2)) return 'as here'
  return `${Math.abs(skewMs)} ms ${skewMs > 0 ? 'ahead of' : 'behind'} the one here`
}
