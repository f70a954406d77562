import { join } from 'node:path'
import { z } from 'zod'
import { limits } from '../../../protocol/limits.ts'
import { openSealKeys } from '../../../provider/seal-keys.ts'
import { defineCommand } from '../../command.ts'
import { orderProvider } from '../../operate/order-provider.ts'
import { findProviderDir, providerOptions } from '../../operate/provider-dir.ts'

const answerSchema = z.object({ kid: z.string(), retiredKid: z.string(), done: z.array(z.string()) })

export const providerRotateKey = defineCommand({
  usage: 'provider rotate-key',
  details:
    'Makes a new RSA key and publishes it in the Resolver: secrets are sealed for it from then on. The old key opens what\n' +
    'was sealed for it for 90 days more, so no deployment has to be made anew; then it is deleted.\n' +
    'Command lines that know the provider stop at the new key until they are told --accept-identity.',
  options: providerOptions,
  examples: ['provider rotate-key', 'provider rotate-key --domain carol'],
  async run({ values }, context) {
    const dir = await findProviderDir(values, context)
    context.note('Making a key …')
    const answer = await orderProvider(dir, { order: 'rotate-key' }, context.signal)
    const isRunning = answer !== undefined
    const { kid, retiredKid, done } = isRunning
      ? answerSchema.parse(answer)
      : { ...(await (await openSealKeys(context, join(dir, 'keys'))).rotate()), done: [] }
    const graceDays = limits.sealKeyGraceMs / (24 * 60 * 60 * 1000)
    context.print(
      [
        `Secrets are sealed for ${kid} ${isRunning ? 'from now on' : 'once "provider up" has published it'}.`,
        `${retiredKid} opens what was sealed for it for ${graceDays} days more.`,
        ...done.map((label) => `  on chain ${label}`),
      ].join('\n'),
      { kid, retiredKid, isRunning, done },
    )
  },
})
