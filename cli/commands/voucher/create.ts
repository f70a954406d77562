import { limits } from '../../../protocol/limits.ts'
import { formatUsdc, multiplyUsdc, parseUsdc, type Usdc } from '../../../protocol/usdc.ts'
import { formatVoucherSet } from '../../../protocol/voucher-set.ts'
import { openSession, readPrice } from '../../call/open-session.ts'
import { defineCommand, usageError } from '../../command.ts'
import { parseCount } from '../../duration.ts'
import { openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions, payeeOptions, pinOptions } from '../../market/options.ts'
import { readOrigins } from '../../market/provider-origin.ts'
import { resolveProvider } from '../../market/resolve-provider.ts'

export const voucherCreate = defineCommand({
  usage: 'voucher create',
  details:
    'Signs a voucher for each provider: so many calls at its price, beyond all that was signed for it before. Several make a set, so that\n' +
    'one of them takes a call where another fails, or a swarm is paid, and nothing has to be signed again. Only the set is printed on\n' +
    'standard output, the value of the header Khachapuri-Voucher. Whoever has it can use up the calls, at each provider; a gateway shows\n' +
    'each provider its own voucher. What "call --voucher" pays with the same key uses it up, too.',
  options: {
    ...payeeOptions,
    calls: { type: 'string', value: '<n>', default: '10', help: 'Calls that each voucher covers' },
    max: { type: 'string', value: '<usdc>', help: 'The most that one call may cost' },
    payer: {
      type: 'string',
      value: '<account>',
      help: 'Whose grant it is, where the account is a session key',
    },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
  },
  examples: [
    'voucher create --account payer --provider alice --provider bob --calls 100 --max 0.001',
    'voucher create --account session --payer payer --provider alice --calls 10',
  ],
  async run({ values }, context) {
    const names = [...new Set(values.provider)]
    if (names.length > limits.voucherSetMax)
      throw usageError(`A set has at most ${limits.voucherSetMax} vouchers.`, 'Make several.')
    const calls = parseCount('calls', values.calls, { min: 1, max: limits.voucherCallsOpenMax })
    const maxPriceUsdc = values.max === undefined ? undefined : parseUsdc(values.max)
    const writer = await openWriter(values, context)
    const originOf = await readOrigins(writer, context)
    const acceptIdentity = values['accept-identity'] ?? false
    // All are asked before anything is signed.
    const asked = []
    for (const name of names) {
      const provider = await resolveProvider(name, { ...writer, acceptIdentity }, context)
      const priceUsdc: Usdc = await readPrice(originOf(provider), provider, context)
      const wish = { payer: values.payer, maxPriceUsdc, windowCalls: 1 }
      const session = await openSession(provider, wish, writer, context)
      await session.requireGrant()
      asked.push({ provider, priceUsdc, session })
    }
    const tokens: string[] = []
    for (const { session, priceUsdc } of asked) tokens.push(await session.handOut(calls, priceUsdc))
    const vouchers = asked.map(({ provider: { name, address }, priceUsdc }) => ({ name, address, priceUsdc }))
    const mostUsdc = vouchers.map(
      ({ name, priceUsdc }) => `${formatUsdc(multiplyUsdc(priceUsdc, calls))} USDC at ${name}`,
    )
    const token = formatVoucherSet(tokens)
    context.note(
      `Pays for ${calls} calls: up to ${mostUsdc.join(', ')}. Use it:\n` +
        `  curl -H "Khachapuri-Voucher: $VOUCHERS" http://any.<gateway>/<cid>/`,
    )
    context.print(token, { token, calls, vouchers })
  },
})
