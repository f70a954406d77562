import { z } from 'zod'
import { isProtocolError } from '../../protocol/errors.ts'
import { formatKeptReceipt } from '../../protocol/kept-receipt.ts'
import { limits } from '../../protocol/limits.ts'
import { parseSignedReceipt } from '../../protocol/read-receipt.ts'
import type { KeptReceipt } from '../../protocol/receipt-evidence.ts'
import { receiptCharsMax } from '../../protocol/signed-receipt.ts'
import { zeroUsdc } from '../../protocol/usdc.ts'
import { defineCommand } from '../command.ts'
import { replaceFile } from '../files.ts'
import { createProviderAccount, type ProviderAccount } from '../market/ask-provider.ts'
import { providerUrl, readGatewayInfo } from '../market/market.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions } from '../market/options.ts'
import { resolveProvider } from '../market/resolve-provider.ts'
import { resolvePath } from '../project/packed-program.ts'
import { createReceiptSource } from '../statement/receipt-source.ts'

export const receipts = defineCommand({
  usage: 'receipts <name>',
  details:
    'Writes down what a provider shows to the account of its calls, so that strangers can count them: each receipt on a line, with its\n' +
    'way to the usage root that its settlement published, or, where nothing was charged, with its signature. Whoever gets the file reads\n' +
    'what was called when, at what price; not what was asked or answered. "reputation --receipts <dir>" counts it.',
  options: {
    output: { type: 'string', short: 'o', value: '<file>', help: 'Where they go (default: <name>.jsonl)' },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
  },
  examples: ['receipts alice', 'receipts alice -o receipts/alice.jsonl --account payer'],
  async run({ positionals: [text = ''], values }, context) {
    const writer = await openWriter(values, context)
    const resolving = { ...writer, acceptIdentity: values['accept-identity'] ?? false }
    const { name, address } = await resolveProvider(text, resolving, context)
    const path = resolvePath(context.cwd, values.output ?? `${name}.jsonl`)
    const { gateway } = writer.market
    const { domain } = await readGatewayInfo(gateway, context.signal)
    const url = providerUrl(gateway, domain, name)
    const account = createProviderAccount({ name, address, url }, writer, context)
    const parties = { payer: writer.account.address, provider: address }
    const lines: string[] = []
    let [rooted, signed, missing] = [0, 0, 0]
    for await (const kept of readReceipts(account, parties)) {
      if (kept === undefined) missing += 1
      else if (lines.length === limits.evidenceReceiptsMax) {
        context.note(`Only the first ${limits.evidenceReceiptsMax} receipts are written.`)
        break
      } else {
        if (kept.proof) rooted += 1
        else signed += 1
        lines.push(`${formatKeptReceipt(kept)}\n`)
      }
    }
    await replaceFile(path, lines.join(''))
    context.print(
      [
        `${lines.length} receipts of ${name} are in ${path}`,
        `  settled   ${rooted}, each under a usage root on the chain`,
        `  signed    ${signed}, not settled, or not charged`,
        ...(missing > 0 ? [`  left out  ${missing}, of which it shows no proof`] : []),
      ].join('\n'),
      { name, provider: address, payer: parties.payer, path, rooted, signed, missing },
    )
  },
})

/** What the provider shows, by lane. @returns undefined for one of which it proves nothing */
async function* readReceipts(
  account: ProviderAccount,
  parties: Parameters<typeof createReceiptSource>[1],
): AsyncGenerator<KeptReceipt | undefined> {
  const source = createReceiptSource(account, parties)
  for await (const { charged, lane } of source.takeRest()) {
    const { id, receipt } = charged
    const shown = receipt.priceUsdc === zeroUsdc ? null : await source.proofOf(lane, id)
    const signed = shown ? undefined : await readSigned(account, receipt.callId)
    yield shown || signed ? { receipt, signed, proof: shown?.proof } : undefined
  }
}

const signedSchema = z.object({ signed: z.string().max(receiptCharsMax).optional() })

async function readSigned(account: ProviderAccount, callId: string): Promise<KeptReceipt['signed']> {
  try {
    const { signed } = await account.read(`/_/receipts/${callId}`, {}, signedSchema)
    return signed === undefined ? undefined : parseSignedReceipt(signed)
  } catch (error) {
    // It was there a moment ago, and has been given up for its age.
    if (isProtocolError(error) && error.code === 'not_found') return undefined
    throw error
  }
}
