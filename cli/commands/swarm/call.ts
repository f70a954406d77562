import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { limits } from '../../../protocol/limits.ts'
import { parseSwarmTerms } from '../../../protocol/swarm/ballot.ts'
import { formatMember } from '../../../protocol/swarm/member.ts'
import { swarmProofToJson } from '../../../protocol/swarm/proof.ts'
import { verifySwarm } from '../../../protocol/swarm/verify-swarm.ts'
import { paymentOptions, readSignedPayment } from '../../call/payment.ts'
import { parseRequest, requestOptions } from '../../call/request.ts'
import { commonOptions, defineCommand } from '../../command.ts'
import { openMarket } from '../../market/open.ts'
import { marketOptions } from '../../market/options.ts'
import { callDirectly } from '../../swarm/call-directly.ts'
import { callByGateway } from '../../swarm/call-swarm.ts'
import { assertChecked, formatChecks, readEvidence } from '../../swarm/checks.ts'

export const swarmCall = defineCommand({
  usage: 'swarm call <url>',
  details:
    'Sends one request to n providers of a deployment and writes the answer that k or more of them gave to standard output, once\n' +
    'votes, receipts, the drawing of the members and their accounts on chain were checked; else it fails, and writes nothing. Only\n' +
    'members of the majority are paid, by the owner, a pass, or a voucher for each ("voucher create"). The checks go to standard error, and name who lied. With\n' +
    '--direct it counts the votes itself: no gateway is trusted, at most used as a way to those behind a tunnel.',
  options: {
    n: { type: 'string', value: '<n>', default: '3', help: 'How many providers are asked' },
    k: { type: 'string', value: '<k>', help: 'How many must agree (default: more than half)' },
    timeout: { type: 'string', value: '<seconds>', default: '3', help: 'How long they are waited for' },
    ...requestOptions,
    data: {
      type: 'string',
      short: 'd',
      value: '<data>',
      help: 'The body; @file for a file, @- for standard input',
    },
    output: {
      type: 'string',
      short: 'o',
      value: '<file>',
      help: 'Write answer and proof to a file, for "verify-swarm"',
    },
    ...paymentOptions,
    direct: { type: 'boolean', help: 'Ask the members and count the votes here' },
    provider: {
      type: 'string',
      multiple: true,
      value: '<name>',
      help: 'With --direct: each provider that the deployment names',
    },
    ...marketOptions,
    ...commonOptions,
  },
  examples: [
    'swarm call http://any.localhost:8080/<cid>/ -d \'{"num":600}\'',
    'swarm call http://thumbs.localhost:8080/ --n 5 --k 3 -o out.json',
    'swarm call http://any.localhost:8080/<cid>/ --direct --provider alice --provider bob --provider carol',
  ],
  async run({ positionals: [urlText = ''], values }, context) {
    const payment = readSignedPayment(values, context.env)
    const request = await parseRequest(urlText, values, context)
    const k = values.k === undefined ? '' : `, k=${values.k}`
    const terms = parseSwarmTerms(`n=${values.n}${k}, timeout=${values.timeout}`)
    const opened = await openMarket(values, context)
    const signal = AbortSignal.any([context.signal, AbortSignal.timeout(limits.requestTimeoutMs)])
    const names = values.provider ?? []
    const { proof, body, refusal } = values.direct
      ? await callDirectly(request, { terms, names, payment }, opened, { ...context, signal })
      : await callByGateway(
          { ...request, headers: { ...request.headers, ...payment.headers } },
          terms,
          signal,
        )
    if (values.output !== undefined) {
      const json = JSON.stringify(swarmProofToJson(proof, body), null, 2)
      await writeFile(resolve(context.cwd, values.output), `${json}\n`)
    }
    const checks = await verifySwarm(proof, await readEvidence(proof, opened, context))
    if (!values.json) context.note(formatChecks(checks))
    if (refusal) throw refusal
    assertChecked(checks)
    if (values.json) {
      const members = proof.members.map((member) =>
        formatMember({ ...member })
          .split('; ', 3)
          .join(' '),
      )
      const text = Buffer.from(body).toString('utf8')
      return context.print('', { status: proof.status, verdict: proof.verdict, members, checks, body: text })
    }
    await context.writeBytes(body)
  },
})
