import { getAddress } from 'viem'
import { type CallInput, hashInput } from '../../protocol/call-record.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import {
  type AnswerDigest,
  type FraudReport,
  formatFraudReport,
  fraudReportSigner,
  parseFraudReport,
  signFraudReport,
} from '../../protocol/fraud-report.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { formatSignedReceipt, type SignedReceipt } from '../../protocol/signed-receipt.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { verifyReceipt } from '../../protocol/verify-receipt.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { assertWritable, replaceFile } from '../files.ts'
import { openAccount } from '../keys/account.ts'
import { findMarket, parseHttpUrl, readGatewayInfo } from '../market/market.ts'
import { accountOptions, marketOptions } from '../market/options.ts'
import { resolvePath } from '../project/packed-program.ts'
import { type FetchedDeployment, fetchDeployment, fetchFiles } from '../replay/fetch-deployment.ts'
import { findInput } from '../replay/find-input.ts'
import { runAgain } from '../replay/run-again.ts'
import { assertHolds } from '../verify/assert-holds.ts'
import { readKeptReceipt } from '../verify/read-answer.ts'
import { isUrl, readKeptFile, readSource } from '../verify/read-source.ts'

export const replay = defineCommand({
  usage: 'replay <file|url|->',
  details:
    'Runs a recorded call again on this machine: checks the receipt, fetches the program by its CID, runs it in the sandbox in which\n' +
    'a provider runs it, with the time and the seed of the call, and compares status and body with what the provider signed.\n' +
    'What the call was asked with comes from --request and --data, from --record, or from the provider, which shows it to who paid\n' +
    'for the call and to who deployed the program. Where the answers differ, a report that the account signs is written; it holds all\n' +
    'that anybody needs to do the same: "khachapuri replay <report>". Ends with 0 where they are the same, else with 1: replay_differs\n' +
    'for a lie, replay_impossible for a call that nobody can run again, replay_inconclusive where it did not answer here.',
  options: {
    provider: { type: 'string', value: '<name>', help: 'Who has the record (default: that of the URL)' },
    record: { type: 'string', value: '<file>', help: 'The record, as /_/receipts/<call>/record shows it' },
    request: {
      type: 'string',
      value: '<line>',
      help: 'What was asked in place of a record: "POST /resize?width=80"',
    },
    data: { type: 'string', value: '<file>', help: "The request's body" },
    output: {
      type: 'string',
      short: 'o',
      value: '<file>',
      default: 'fraud-report.json',
      help: 'Where the report goes, if there is one to write',
    },
    keeper: {
      type: 'string',
      value: '<url>',
      help: "Where the program is fetched (default: the gateway's keeper)",
    },
    ...accountOptions,
    ...marketOptions,
  },
  examples: [
    'replay head.txt --provider alice',
    'replay head.txt --request "POST /?width=80" --data photo.jpg',
    'replay fraud-report.json --json',
  ],
  async run({ positionals: [source = ''], values }, context) {
    const accusation = await readReport(source, context)
    const { signed, evidence } = accusation
      ? readKeptReceipt(Buffer.from(accusation.signed))
      : await readSource(source, context)
    const place = await findMarket(values, context)
    const market = { chainId: place.chainId, escrow: getAddress(place.contracts.escrow) }
    assertHolds(await verifyReceipt(signed, { ...evidence, market }))
    if (accusation) await assertSigned(accusation, market)
    const { receipt } = signed
    assertAnswered(receipt)
    const keeper = values.keeper ?? (await readGatewayInfo(place.gateway, context.signal)).keeper
    const keeperUrl = parseHttpUrl('--keeper', keeper)
    const fetched = await fetchDeployment(receipt.deployment, { keeperUrl, market }, context.signal)
    const input = accusation?.record ?? (await findInput({ source, receipt }, values, place, context))
    assertHolds(
      await verifyReceipt(signed, { programId: fetched.programId, requestDigest: hashInput(input) }),
    )
    const { spec } = fetched
    const files = await fetchFiles(spec, { keeperUrl }, context.signal)
    const { callId, startedAt: startedMs } = receipt
    const found = await runAgain({ spec, files, input, callId, startedMs }, context)
    const said = { status: receipt.status, responseDigest: receipt.responseDigest }
    const facts = { callId, provider: receipt.provider, program: spec.program, said, found }
    if (said.status === found.status && said.responseDigest === found.responseDigest)
      return context.print(`The same: status ${found.status}, body ${found.responseDigest}.`, facts)
    const path = resolvePath(context.cwd, values.output)
    // A report that was checked is there already.
    const report = accusation ? source : path
    if (!accusation) {
      await assertWritable(path)
      const account = await openAccount(values, place, context)
      const draft = { ...describe({ signed, fetched, input, found }), said, by: account.address }
      const madeAt = Math.floor(context.clock.nowMs() / 1000)
      await replaceFile(
        path,
        formatFraudReport(await signFraudReport({ ...draft, version: 1, madeAt }, account, market)),
      )
    }
    throw new ProtocolError(
      'replay_differs',
      `${receipt.provider} signed another answer than the program gives: it signed status ${said.status}, body ${said.responseDigest}; it is status ${found.status}, body ${found.responseDigest}.`,
      {
        hint: `${report} proves it: anybody can check it with "khachapuri replay".`,
        details: { ...facts, report },
      },
    )
  },
})

interface Differing {
  readonly signed: SignedReceipt
  readonly fetched: FetchedDeployment
  readonly input: CallInput
  readonly found: AnswerDigest
}

const describe = ({ signed, fetched: { deployment, spec }, input, found }: Differing) => ({
  signed: formatSignedReceipt(signed),
  deployment,
  program: spec.program,
  record: input,
  found,
})

/** @returns undefined for a source that is something else */
async function readReport(source: string, context: CommandContext): Promise<FraudReport | undefined> {
  if (source === '-' || source === '' || isUrl(source)) return undefined
  return parseFraudReport(parseJson(await readKeptFile(source, context)))
}

/** @throws ProtocolError `signature_invalid` */
async function assertSigned(report: FraudReport, market: Market): Promise<void> {
  if ((await fraudReportSigner(report, market)) === report.by) return
  throw new ProtocolError('signature_invalid', `The report is not signed by ${report.by}.`, {
    hint: 'Its receipt and its record may be right all the same: take them out, and replay the receipt with --record.',
  })
}

/** @throws ProtocolError `replay_impossible` */
function assertAnswered({ outcome }: Receipt): void {
  if (outcome === 'answered') return
  throw new ProtocolError(
    'replay_impossible',
    `The call ended as ${outcome}, so there is no answer to compare.`,
    {
      hint: 'Only answers can be run again: how a call fails may depend on the machine.',
    },
  )
}
