import { getAddress, type Hex, isAddress } from 'viem'
import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { hashRequest } from '../../protocol/call.ts'
import { digestOfCid, parseContentCid } from '../../protocol/ipfs/cid.ts'
import { receiptToJson } from '../../protocol/receipt.ts'
import { type Evidence, verifyReceipt } from '../../protocol/verify-receipt.ts'
import { type CommandContext, defineCommand, usageError } from '../command.ts'
import { type OpenMarket, openMarket, openWriter } from '../market/open.ts'
import { type AccountFlags, accountOptions, type MarketFlags, marketOptions } from '../market/options.ts'
import { type ResolvedProvider, readProvider } from '../market/resolve-provider.ts'
import { parseParams } from '../project/manifest.ts'
import { computeIds, openProgram } from '../project/packed-program.ts'
import { assertHolds, formatChecks, type ShownCheck } from '../verify/assert-holds.ts'
import { chargedTwice, checkChargedOnce } from '../verify/charged-once.ts'
import { checkPublishedRoot, rootUnpublished } from '../verify/published-root.ts'
import type { ReceivedReceipt } from '../verify/read-answer.ts'
import { readKeptFile, readSource } from '../verify/read-source.ts'
import { parseRequestLine } from '../verify/request-line.ts'

export const verify = defineCommand({
  usage: 'verify <file|url|->',
  details:
    'Checks what a provider signed about a call: who was called, with what request and result, at what price. A file may be\n' +
    'the Khachapuri-Receipt header alone, what "curl -D" or "curl -i" wrote, or the JSON of /_/receipts/<call>. Nobody is\n' +
    'asked but with a URL, which is called once and checked, and with --on-chain: then the chain must have the provider, and a\n' +
    'settlement of it must have published a root that commits to the receipt (root_unpublished where none did so far). One line\n' +
    'for each check: "ok", "WRONG", or "-" where there was nothing to compare with. It fails if any is wrong. --once asks\n' +
    'each provider in Khachapuri-Attempt of the head, and each --among, for what it charged the account (charged_twice).',
  options: {
    body: { type: 'string', value: '<file>', help: "The answer's body" },
    request: {
      type: 'string',
      value: '<line>',
      help: 'What was asked: "POST /resize?width=80", from the CID on or after it',
    },
    data: { type: 'string', value: '<file>', help: "The request's body" },
    program: {
      type: 'string',
      value: '<path>',
      help: 'The program that should have run: a zip or a directory',
    },
    params: { type: 'string', value: '<json>', help: 'Its public params in place of those in its manifest' },
    deployment: { type: 'string', value: '<cid>', help: 'The deployment that should have been called' },
    provider: {
      type: 'string',
      value: '<address|name>',
      help: 'Who should have signed; a name needs --on-chain',
    },
    'on-chain': {
      type: 'boolean',
      help: 'Look up the provider, the market and the published root on the chain',
    },
    once: {
      type: 'boolean',
      help: 'Ask all who were offered the call whether one of them alone charged for it',
    },
    among: {
      type: 'string',
      multiple: true,
      value: '<name>',
      help: 'With --once: a provider that the pass or the vouchers name, too',
    },
    also: {
      type: 'string',
      multiple: true,
      value: '<call>',
      help: 'With --once: another call of yours with the same request',
    },
    ...accountOptions,
    ...marketOptions,
  },
  examples: [
    'verify head.txt --body thumbnail.png',
    'verify head.txt --request "POST /?width=80" --data photo.jpg --program ./thumbnail',
    'verify http://alice.localhost:8080/<cid>/hello',
    'verify head.txt --provider alice --on-chain --json',
    'verify head.txt --once --among alice --among bob --account payer',
  ],
  async run({ positionals: [source = ''], values }, context) {
    const received = await readSource(source, context)
    const { signed } = received
    const known = await readProviderEvidence(values, context)
    const evidence: Evidence = {
      ...received.evidence,
      ...(await givenEvidence(values, signed.receipt, context)),
      ...known.evidence,
    }
    const offline = await verifyReceipt(signed, evidence)
    const isSound = offline.every(({ verdict }) => verdict !== 'wrong')
    const root =
      !isSound || !known.isOnChain
        ? undefined
        : known.provider
          ? await checkPublishedRoot(signed.receipt, known.provider, known.opened, context)
          : rootOfNobody
    const once = isSound ? await readOnce(values, received, context) : undefined
    const checks: readonly ShownCheck[] = [
      ...offline,
      ...(root ? [{ name: root.name, verdict: root.verdict, says: root.says }] : []),
      ...(once ? [once] : []),
    ]
    const facts = { receipt: receiptToJson(signed.receipt), market: signed.market, checks }
    const isRight = checks.every(({ verdict }) => verdict !== 'wrong')
    if (isRight && !root?.isUnpublished) return context.print(formatChecks(checks), facts)
    if (!values['json']) context.note(formatChecks(checks))
    if (once?.verdict === 'wrong' && once.name === 'once') throw chargedTwice(once.says, facts)
    assertHolds(checks, facts)
    throw rootUnpublished(signed.receipt.callId, facts)
  },
})

interface OnceFlags extends MarketFlags, AccountFlags {
  readonly once?: boolean | undefined
  readonly among?: readonly string[] | undefined
  readonly also?: readonly string[] | undefined
}

async function readOnce(
  { once, among = [], also = [], ...flags }: OnceFlags,
  { signed, attempts = [] }: ReceivedReceipt,
  context: CommandContext,
): Promise<ShownCheck | undefined> {
  if (!once) {
    if (among.length + also.length === 0) return undefined
    throw usageError('--among and --also belong to --once.', 'Add --once.')
  }
  const wish = { attempts, names: among, known: also as Hex[] }
  if (attempts.length + among.length === 0)
    throw usageError('The answer names nobody else.', 'Name who may have been asked with --among <name>.')
  return checkChargedOnce(signed.receipt, wish, await openWriter(flags, context), context)
}

interface Given {
  readonly body?: string | undefined
  readonly request?: string | undefined
  readonly data?: string | undefined
  readonly program?: string | undefined
  readonly params?: string | undefined
  readonly deployment?: string | undefined
}

/** What the flags say of the call. */
async function givenEvidence(
  { body, request, data, program, params, deployment }: Given,
  { deployment: signedDeployment }: { readonly deployment: Hex },
  context: CommandContext,
): Promise<Evidence> {
  if (data !== undefined && request === undefined)
    throw usageError('--data belongs to a request.', 'Add --request "POST /path".')
  if (params !== undefined && program === undefined)
    throw usageError('--params belong to a program.', 'Add --program <path>.')
  const digestOf = async (path: string) => sha256(await readKeptFile(path, context))
  const packed = program === undefined ? undefined : await openProgram(program, context)
  const ids =
    packed &&
    (await computeIds(packed.zip, params === undefined ? packed.manifest.params : parseParams(params)))
  return {
    ...(body !== undefined && { responseDigest: toHex(await digestOf(body)) }),
    ...(request !== undefined && {
      requestDigest: hashRequest({
        ...parseRequestLine(request, signedDeployment),
        bodyDigest: data === undefined ? sha256(new Uint8Array()) : await digestOf(data),
      }),
    }),
    ...(ids && { programId: ids.programId }),
    ...(deployment !== undefined && { deployment: toHex(digestOfCid(parseContentCid(deployment))) }),
  }
}

const rootOfNobody: ShownCheck & { readonly isUnpublished: boolean } = {
  ...{ name: 'root', verdict: 'open', isUnpublished: false },
  says: 'it is the provider that shows the way there: name it with --provider <name>',
}

type KnownProvider =
  | { readonly evidence: Evidence; readonly provider?: undefined; readonly isOnChain: boolean }
  /** Read from the chain by its name, so that it can be asked, too. */
  | {
      readonly evidence: Evidence
      readonly provider: ResolvedProvider
      readonly opened: OpenMarket
      readonly isOnChain: true
    }

async function readProviderEvidence(
  values: {
    readonly provider?: string | undefined
    readonly 'on-chain'?: boolean | undefined
    readonly gateway?: string | undefined
    readonly rpc?: string | undefined
  },
  context: CommandContext,
): Promise<KnownProvider> {
  const { provider: text } = values
  const isNamed = text !== undefined && !isAddress(text, { strict: false })
  if (!values['on-chain']) {
    if (isNamed)
      throw usageError(
        `Who "${text}" is stands on the chain.`,
        'Name the provider by its address, or add --on-chain.',
      )
    return { evidence: text === undefined ? {} : { provider: getAddress(text) }, isOnChain: false }
  }
  if (text === undefined)
    throw usageError('Whom to look up is not said.', 'Name the provider with --provider <name>.')
  const opened = await openMarket(values, context)
  const { chainId, contracts } = opened.market
  const market = { chainId, escrow: getAddress(contracts.escrow) }
  if (!isNamed) return { evidence: { provider: getAddress(text), market }, isOnChain: true }
  const provider = await readProvider(text, opened, context)
  return { evidence: { provider: provider.address, market }, provider, opened, isOnChain: true }
}
