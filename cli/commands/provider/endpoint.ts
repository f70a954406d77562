import { z } from 'zod'
import { changeSettings } from '../../../provider/settings.ts'
import { defineCommand } from '../../command.ts'
import { orderProvider } from '../../operate/order-provider.ts'
import { findProviderDir, providerOptions } from '../../operate/provider-dir.ts'
import { parseEndpoint } from '../../operate/reach.ts'

const answerSchema = z.object({ done: z.array(z.string()) })

export const providerEndpoint = defineCommand({
  usage: 'provider endpoint <url>',
  details:
    'Changes where callers come: to an address (https://…), or through the tunnel of a gateway (wss://…/_/tunnel). The new\n' +
    'way stands before the Resolver names it, and calls on the old one end in peace. It holds for the next start, too.',
  options: providerOptions,
  examples: [
    'provider endpoint https://carol.example',
    'provider endpoint wss://gateway.example/_/tunnel --domain carol',
  ],
  async run({ positionals: [text = ''], values }, context) {
    const endpoint = parseEndpoint(text)
    const dir = await findProviderDir(values, context)
    const answer = await orderProvider(dir, { order: 'endpoint', body: { endpoint } }, context.signal)
    const isRunning = answer !== undefined
    if (!isRunning) await changeSettings(dir, { endpoint })
    const { done } = isRunning ? answerSchema.parse(answer) : { done: [] }
    context.print(
      [
        isRunning
          ? `Callers come to ${endpoint} now.`
          : `The next "provider up" lets callers come to ${endpoint}.`,
        ...done.map((label) => `  on chain ${label}`),
      ].join('\n'),
      { endpoint, isRunning, done },
    )
  },
})
