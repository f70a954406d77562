import type { Address } from 'viem'
import type { DeploymentDraft } from '../../protocol/deployment.ts'
import { type Egress, egressSchema, explainNoEgress } from '../../protocol/egress.ts'
import { limits } from '../../protocol/limits.ts'
import { type PayerChoice, payerChoices } from '../../protocol/owner.ts'
import type { Params, RuntimeKind } from '../../protocol/program.ts'
import { programLimits, type SettableLimitName } from '../../protocol/program-limits.ts'
import { describeIssues } from '../../protocol/schema.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { type Options, usageError } from '../command.ts'
import { parseCount, parseDuration } from '../duration.ts'
import type { MarketPlace } from '../market/market.ts'
import type { Env } from '../project/env-file.ts'
import type { Manifest } from '../project/manifest.ts'

/** What an owner decides about a deployment beside the program: who pays, and within what. */
export const policyOptions = {
  payer: {
    type: 'string',
    value: 'owner|caller|any',
    default: 'any',
    help: 'Who pays: you, callers with a pass, or callers with a pass and else you',
  },
  'owner-per-day': {
    type: 'string',
    value: '<usdc|none>',
    default: '1',
    help: 'The most that strangers cost you in a day, at each provider',
  },
  'calls-per-minute': {
    type: 'string',
    value: '<n|none>',
    default: '600',
    help: 'The most calls of strangers in a minute, at each provider',
  },
  origin: {
    type: 'string',
    multiple: true,
    value: '<url>',
    help: 'Only pages of this origin may spend your money (default: anybody)',
  },
  timeout: { type: 'string', value: '<ms>', help: 'Wall time of a call, in place of that in the manifest' },
  memory: { type: 'string', value: '<MiB>', help: 'Memory, in place of that in the manifest' },
  egress: {
    type: 'string',
    multiple: true,
    value: 'none|public|<origin>',
    help: 'What it may reach, in place of what the manifest says',
  },
  cpu: { type: 'string', value: '<ms>', help: 'Processor time of a call, in place of that in the manifest' },
  concurrency: { type: 'string', value: '<n>', help: 'Calls in flight, in place of those in the manifest' },
  record: {
    type: 'string',
    value: '<duration>',
    help: 'Keep what calls are asked with for so long, so that they can be run again (wasm, --public)',
  },
  'response-bytes': {
    type: 'string',
    value: '<n>',
    help: "An answer's body, in place of that in the manifest",
  },
  'websocket-time': {
    type: 'string',
    value: '<ms>',
    help: 'How long a WebSocket lasts, in place of that in the manifest',
  },
} as const satisfies Options

export interface PolicyFlags {
  readonly payer: string
  readonly 'owner-per-day': string
  readonly 'calls-per-minute': string
  readonly origin?: string[] | undefined
  readonly timeout?: string | undefined
  readonly memory?: string | undefined
  readonly egress?: string[] | undefined
  readonly cpu?: string | undefined
  readonly concurrency?: string | undefined
  readonly 'response-bytes'?: string | undefined
  readonly 'websocket-time'?: string | undefined
  readonly record?: string | undefined
}

export type Terms = Pick<DeploymentDraft, 'payer' | 'policy' | 'limits' | 'record'>

/** Reads the flags, before anything is built or asked. @throws ProtocolError `usage_invalid` */
export function parseTerms(flags: PolicyFlags, manifest: Pick<Manifest, 'limits' | 'runtime'>): Terms {
  const perDay = flags['owner-per-day']
  const perMinute = flags['calls-per-minute']
  return {
    payer: parsePayer(flags.payer),
    policy: {
      ownerPays: {
        maxUsdcPerDay: perDay === 'none' ? null : parseUsdc(perDay),
        maxCallsPerMinute:
          perMinute === 'none'
            ? null
            : parseCount('calls-per-minute', perMinute, { min: 1, max: 10_000_000 }),
      },
      origins: flags.origin?.length ? flags.origin.map(parseOrigin) : 'any',
    },
    limits: {
      ...manifest.limits,
      ...parseLimitFlags(flags),
      egress:
        flags.egress === undefined ? manifest.limits.egress : parseEgress(flags.egress, manifest.runtime),
    },
    ...(flags.record !== undefined && { record: parseRecord(flags.record, manifest.runtime) }),
  }
}

const limitFlags = {
  timeout: 'timeoutMs',
  memory: 'memoryMiB',
  cpu: 'cpuMs',
  concurrency: 'concurrency',
  'response-bytes': 'responseBytes',
  'websocket-time': 'webSocketMs',
} as const satisfies Readonly<Record<string, SettableLimitName>>

/** Only those that were given, so that a spec does not name what nobody said. */
function parseLimitFlags(flags: PolicyFlags): Partial<Record<SettableLimitName, number>> {
  const given = Object.entries(limitFlags).flatMap(([flag, name]) => {
    const text = flags[flag as keyof typeof limitFlags]
    return text === undefined ? [] : [[name, parseCount(flag, text, programLimits[name])] as const]
  })
  return Object.fromEntries(given) as Partial<Record<SettableLimitName, number>>
}

export interface DraftFacts {
  readonly market: MarketPlace
  readonly manifest: Manifest
  /** The zip's CID. */
  readonly program: string
  readonly params: Params
  readonly env: Env
  readonly providers: readonly Address[]
  readonly agreedTerms: string | null
  readonly owner: Address
  readonly nowMs: number
}

/** The spec, all but the signature. */
export function draftDeployment(facts: DraftFacts, terms: Terms): DeploymentDraft {
  const { market, manifest } = facts
  return {
    version: 1,
    chainId: market.chainId,
    escrow: market.contracts.escrow,
    program: facts.program,
    runtime: manifest.runtime,
    ...(manifest.native && { native: manifest.native }),
    ...(manifest.compare && { compare: manifest.compare }),
    ...(manifest.activations && { activations: manifest.activations }),
    ...(manifest.capabilities && { capabilities: manifest.capabilities }),
    entry: manifest.entry,
    params: facts.params,
    env: facts.env,
    providers: [...facts.providers],
    terms: facts.agreedTerms,
    owner: facts.owner,
    createdAt: Math.floor(facts.nowMs / 1000),
    ...terms,
  }
}

function parsePayer(text: string): PayerChoice {
  const payer = payerChoices.find((choice) => choice === text)
  if (payer) return payer
  throw usageError(
    `"${text.slice(0, 40)}" is not a value for --payer.`,
    `Use one of: ${payerChoices.join(', ')}.`,
  )
}

/** Reads `--egress`: one of the two words, or an origin each time that it is given. */
function parseEgress(texts: readonly string[], runtime: RuntimeKind): Egress {
  const isWord = texts.length === 1 && /^[a-z]+$/.test(texts[0]!)
  const parsed = egressSchema.safeParse(isWord ? texts[0] : texts)
  const reason = parsed.success ? explainNoEgress(runtime, parsed.data) : describeIssues(parsed.error)
  if (parsed.success && reason === undefined) return parsed.data
  throw usageError(
    `--egress ${texts.join(' ').slice(0, 80)}: ${reason}`,
    'Write --egress none, --egress public, or --egress https://api.example.com for each origin.',
  )
}

function parseRecord(text: string, runtime: RuntimeKind): { readonly seconds: number } {
  const seconds = parseDuration('record', text)
  const { callRecordSecondsMin: min, callRecordSecondsMax: max } = limits
  if (runtime !== 'wasm')
    throw usageError(
      `--record is for wasm programs: a ${runtime} program may answer otherwise when it runs again.`,
      'Leave --record out.',
    )
  if (seconds >= min && seconds <= max) return { seconds }
  throw usageError(`--record ${text}: not within the limits.`, `Use ${min}s to ${max / 86_400}d.`)
}

function parseOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url && /^https?:$/.test(url.protocol) && [url.origin, `${url.origin}/`].includes(text))
    return url.origin
  throw usageError(`"${text.slice(0, 80)}" is not an origin.`, 'Write it as in --origin https://example.org.')
}
