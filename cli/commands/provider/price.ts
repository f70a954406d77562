import { z } from 'zod'
import { usdcSchema } from '../../../protocol/schema.ts'
import { formatUsdc, parseUsdc } from '../../../protocol/usdc.ts'
import { changeSettings } from '../../../provider/settings.ts'
import { defineCommand } from '../../command.ts'
import { orderProvider } from '../../operate/order-provider.ts'
import { findProviderDir, providerOptions } from '../../operate/provider-dir.ts'

const answerSchema = z.object({ previousUsdc: usdcSchema })

export const providerPrice = defineCommand({
  usage: 'provider price <usdc>',
  details:
    'Changes the price of one call, at once where the provider runs, and for its next start. Calls in flight keep the\n' +
    'price that they began with; whose grant has a lower cap is refused from then on (price_above_cap).',
  options: providerOptions,
  examples: ['provider price 0.0002', 'provider price "0.001 USDC" --domain carol'],
  async run({ positionals: [text = ''], values }, context) {
    const priceUsdc = parseUsdc(text)
    const dir = await findProviderDir(values, context)
    const body = { priceUsdc: priceUsdc.toString() }
    const answer = await orderProvider(dir, { order: 'price', body }, context.signal)
    const isRunning = answer !== undefined
    if (!isRunning) await changeSettings(dir, { priceUsdc })
    const { previousUsdc } = isRunning ? answerSchema.parse(answer) : {}
    const before = previousUsdc === undefined ? '' : `, before ${formatUsdc(previousUsdc)} USDC`
    context.print(
      `One call costs ${formatUsdc(priceUsdc)} USDC${isRunning ? ' now' : ' from the next start on'}${before}.`,
      { priceUsdc, isRunning, ...(previousUsdc !== undefined && { previousUsdc }) },
    )
  },
})
