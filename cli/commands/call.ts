import { resolve } from 'node:path'
import { limits } from '../../protocol/limits.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { assertAnswered, readHead, showAnswer } from '../call/answer.ts'
import { callByVoucher } from '../call/by-voucher.ts'
import { parseRequest, requestOptions } from '../call/request.ts'
import { commonOptions, defineCommand, usageError } from '../command.ts'
import { parseCount } from '../duration.ts'
import { assertWritable } from '../files.ts'
import { openHttp, readBody } from '../http.ts'
import { accountOptions, marketOptions, pinOptions } from '../market/options.ts'

export const call = defineCommand({
  usage: 'call <url>',
  details:
    "Sends one request, as curl does, and streams the answer's body to standard output. With --voucher the account signs what\n" +
    'it owes so far and this call, and nothing more; what it signed stays in vouchers.json. It stops for good where a provider\n' +
    'claims more than was called for. An answer of the program is an answer, whatever its status; what the network refuses\n' +
    'ends with 1.',
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
    pass: { type: 'string', value: '<token>', help: 'Pay by a pass (or set KHACHAPURI_PASS)' },
    max: { type: 'string', value: '<usdc>', help: 'The most that the call may cost by voucher' },
    window: { type: 'string', value: '<calls>', default: '1', help: 'Calls that a new voucher covers' },
    payer: {
      type: 'string',
      value: '<account>',
      help: 'Whose grant it is, where the account is a session key',
    },
    provider: { type: 'string', value: '<name>', help: "The provider (default: the URL's first label)" },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
    ...commonOptions,
  },
  examples: [
    'call http://alice.localhost:8080/<cid>/ --voucher --max 0.001',
    'call http://alice.localhost:8080/<cid>/add -X PUT -H "Content-Type: application/json" -d @numbers.json -o sum.json',
  ],
  async run({ positionals: [urlText = ''], values }, context) {
    const pass = values.pass ?? context.env['KHACHAPURI_PASS']
    if (values.voucher && values.pass !== undefined)
      throw usageError('--voucher and --pass exclude each other.', 'Use one.')
    const request = await parseRequest(urlText, values, context)
    if (values.output !== undefined) await assertWritable(resolve(context.cwd, values.output))
    const maxPriceUsdc = values.max === undefined ? undefined : parseUsdc(values.max)
    const windowCalls = parseCount('window', values.window, { min: 1, max: limits.voucherCallsOpenMax })
    const signal = AbortSignal.any([context.signal, AbortSignal.timeout(limits.requestTimeoutMs)])
    const send = async (headers: Readonly<Record<string, string>>) => {
      const { url, method, body } = request
      const whole = { url, method, headers: { ...request.headers, ...headers }, ...(body && { body }) }
      const response = await openHttp(whole, signal)
      return readHead(response, readBody(response, whole, signal))
    }
    const answer = values.voucher
      ? await callByVoucher(values, { url: request.url, maxPriceUsdc, windowCalls, send }, context)
      : await send(pass ? { authorization: `Bearer ${pass}` } : {})
    assertAnswered(answer)
    await showAnswer(answer, values, context)
  },
})
