import { resolve } from 'node:path'
import type { CallAttempt } from '../../protocol/call-attempt.ts'
import { limits } from '../../protocol/limits.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { assertAnswered, readHead, showAnswer } from '../call/answer.ts'
import { askProviders } from '../call/ask-providers.ts'
import { callByVoucher } from '../call/by-voucher.ts'
import type { FirstAnswer } from '../call/first-of.ts'
import { paymentOptions, readSignedPayment } from '../call/payment.ts'
import { parseRequest, requestOptions } from '../call/request.ts'
import { commonOptions, defineCommand, usageError } from '../command.ts'
import { parseCount } from '../duration.ts'
import { assertWritable } from '../files.ts'
import { openHttp, readBody } from '../http.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions } from '../market/options.ts'
import { resolveProvider } from '../market/resolve-provider.ts'

export const call = defineCommand({
  usage: 'call <url>',
  details:
    "Sends one request, as curl does, and streams the answer's body to standard output. With --voucher the account signs what\n" +
    'it owes so far and this call, and nothing more; what it signed stays in vouchers.json. It stops for good where a provider\n' +
    'claims more than was called for. With several --provider each is asked itself, in this order, until one takes the call: the next\n' +
    'one only where the one before surely has not begun. Who was asked is in --json and -i. An answer of the program is an\n' +
    'answer, whatever its status; what the network refuses ends with 1.',
  options: {
    ...requestOptions,
    data: {
      type: 'string',
      short: 'd',
      value: '<data>',
      help: 'The body; @file for a file, @- for standard input',
    },
    output: { type: 'string', short: 'o', value: '<file>', help: 'Write the body to a file' },
    include: { type: 'boolean', short: 'i', help: "Show the answer's head, too" },
    voucher: { type: 'boolean', help: "Pay by a voucher, from the account's grant for the provider" },
    ...paymentOptions,
    max: { type: 'string', value: '<usdc>', help: 'The most that the call may cost by voucher' },
    window: { type: 'string', value: '<calls>', default: '1', help: 'Calls that a new voucher covers' },
    payer: {
      type: 'string',
      value: '<account>',
      help: 'Whose grant it is, where the account is a session key',
    },
    provider: {
      type: 'string',
      multiple: true,
      value: '<name>',
      help: "The provider (default: the URL's first label), then who takes the call where it fails",
    },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
    ...commonOptions,
  },
  examples: [
    'call http://alice.localhost:8080/<cid>/ --voucher --max 0.001',
    'call http://any.localhost:8080/<cid>/ --pass kp1.… --provider alice --provider bob',
    'call http://alice.localhost:8080/<cid>/add -X PUT -H "Content-Type: application/json" -d @numbers.json -o sum.json',
  ],
  async run({ positionals: [urlText = ''], values }, context) {
    const { voucher: byVoucher, provider: names = [] } = values
    if (byVoucher && (values.pass !== undefined || values.vouchers !== undefined))
      throw usageError('--voucher, --vouchers and --pass exclude each other.', 'Use one.')
    const payment = readSignedPayment(byVoucher ? {} : values, byVoucher ? {} : context.env)
    const request = await parseRequest(urlText, values, context)
    if (values.output !== undefined) await assertWritable(resolve(context.cwd, values.output))
    const maxPriceUsdc = values.max === undefined ? undefined : parseUsdc(values.max)
    const windowCalls = parseCount('window', values.window, { min: 1, max: limits.voucherCallsOpenMax })
    const wish = { payer: values.payer, maxPriceUsdc, windowCalls }
    const signal = AbortSignal.any([context.signal, AbortSignal.timeout(limits.requestTimeoutMs)])
    const send = async (url: URL, headers: Readonly<Record<string, string>>) => {
      const { method, body } = request
      const whole = { url, method, headers: { ...request.headers, ...headers }, ...(body && { body }) }
      const response = await openHttp(whole, signal)
      return readHead(response, readBody(response, whole, signal))
    }
    const { url } = request
    const { answer, attempts } =
      names.length > 1
        ? await askProviders(values, { url, names, payment: byVoucher ? wish : payment, send }, context)
        : await askOne(names[0])

    async function askOne(
      name: string | undefined,
    ): Promise<Pick<FirstAnswer, 'answer'> & Partial<FirstAnswer>> {
      if (!byVoucher) return { answer: await send(url, payment.headers) }
      const writer = await openWriter(values, context)
      const resolving = { ...writer, acceptIdentity: values['accept-identity'] ?? false }
      const provider = await resolveProvider(
        name ?? (url.hostname.split('.')[0] as string),
        resolving,
        context,
      )
      const call = {
        ...wish,
        url,
        provider,
        send: (headers: Readonly<Record<string, string>>) => send(url, headers),
      }
      return { answer: await callByVoucher(call, writer, context) }
    }
    assertAnswered(answer)
    if (attempts && !values.json) context.note(attempts.map(describe).join('; '))
    await showAnswer(answer, { ...values, attempts }, context)
  },
})

const describe = ({ name, outcome, code }: CallAttempt) => `${name} ${outcome}${code ? ` (${code})` : ''}`
