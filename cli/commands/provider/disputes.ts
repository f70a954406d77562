import { type Address, isAddressEqual } from 'viem'
import { ProtocolError } from '../../../protocol/errors.ts'
import { meteredSigner } from '../../../protocol/grant.ts'
import { limits } from '../../../protocol/limits.ts'
import { addressSchema } from '../../../protocol/schema.ts'
import { formatUsdc, parseUsdc } from '../../../protocol/usdc.ts'
import { disputeSchema, disputesSchema } from '../../../provider/control/disputes.ts'
import { trialSigner } from '../../../provider/ledger/lanes.ts'
import { defineCommand, usageError } from '../../command.ts'
import { orderProvider } from '../../operate/order-provider.ts'
import { findProviderDir, providerOptions } from '../../operate/provider-dir.ts'

export const providerDisputes = defineCommand({
  usage: 'provider disputes [accept] [payer] [usdc]',
  details:
    'Where the chain is said to have paid a running provider more than its books know of, and no transaction of its own\n' +
    'proves that, calls on the grant are refused (chain_disputed): the RPC server lies, or cannot show the transaction.\n' +
    'Look at the grant elsewhere, such as in a block explorer. "accept" then takes what is said for true, up to so much;\n' +
    'charges go on from there, for good once there is one. Without an order it shows what came into dispute since the start.',
  options: {
    ...providerOptions,
    signer: { type: 'string', value: '<address>', help: 'Of a grant for vouchers: its signer' },
    trial: { type: 'boolean', help: "The payer's trial calls" },
  },
  examples: [
    'provider disputes',
    'provider disputes accept 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 0.0132',
    'provider disputes accept 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 0 --trial',
  ],
  async run({ positionals: [order, payer = '', upTo = '', ...rest], values }, context) {
    const dir = await findProviderDir(values, context)
    if (order === undefined) {
      const asked = { order: 'disputes', bytesMax: limits.policyAnswerBytesMax } as const
      const { disputes } = disputesSchema.parse(
        assertRuns(await orderProvider(dir, asked, context.signal), dir),
      )
      context.print(disputes.map(describe).join('\n') || 'Nothing is in dispute.', { disputes })
      return
    }
    if (order !== 'accept' || rest.length > 0)
      throw usageError(
        `"${order.slice(0, 40)}" is no order here.`,
        'Write "accept <payer> <usdc>", or nothing.',
      )
    if (values.trial && values.signer !== undefined)
      throw usageError('Trial calls have no signer.', 'Give --trial or --signer, not both.')
    const signer = values.trial
      ? trialSigner
      : values.signer === undefined
        ? meteredSigner
        : parseAddress(values.signer)
    const body = { payer: parseAddress(payer), signer, upToUsdc: parseUsdc(upTo).toString() }
    const answer = await orderProvider(dir, { order: 'dispute-accept', body }, context.signal)
    const accepted = disputeSchema.parse(assertRuns(answer, dir))
    context.print(`Accepted: ${describe(accepted)}`, accepted)
  },
})

function describe({ payer, signer, spentUsdc, calls, transaction }: ReturnType<typeof disputeSchema.parse>) {
  const paid = isAddressEqual(signer, trialSigner)
    ? `${calls} trial calls counted`
    : `${formatUsdc(spentUsdc)} USDC paid for ${calls} calls`
  return `${payer}${describeSigner(signer)}: ${paid}, by transaction ${transaction ?? 'unknown'}`
}

const describeSigner = (signer: Address) =>
  isAddressEqual(signer, meteredSigner) || isAddressEqual(signer, trialSigner) ? '' : ` (signer ${signer})`

function assertRuns(answer: unknown, dir: string): unknown {
  if (answer !== undefined) return answer
  throw new ProtocolError('provider_unreachable', `No provider runs in ${dir}.`, {
    hint: 'Start it with "khachapuri provider up": what is in dispute is known while it runs.',
  })
}

function parseAddress(text: string): Address {
  const parsed = addressSchema.safeParse(text)
  if (parsed.success) return parsed.data
  throw usageError(
    `"${text.slice(0, 60)}" is not an address.`,
    'Copy it from "khachapuri provider disputes".',
  )
}
