import { z } from 'zod'
import { assert } from './base/assert.ts'
import type { ErrorCode } from './errors.ts'
import { limits } from './limits.ts'

/** What one program may use, as one row of the table that `khachapuri limits` prints. */
export interface ProgramLimit {
  /** What is bounded, in words. */
  readonly what: string
  readonly unit:
    | 'ms'
    | '% of a core'
    | 'MiB'
    | 'bytes'
    | 'processes'
    | 'calls'
    | 'files'
    | 'requests'
    | 'entries'
    | 'times'
  /** What holds where a deployment does not say; the name of another limit stands for that one's value. */
  readonly default: number | 'timeoutMs'
  /** What no deployment gets more than, at any provider. */
  readonly max: number
  /** The least that a deployment may ask for; absent where it has no say. */
  readonly min?: number
  /**
   * `kernel`: cgroups and mounts around the process; `provider`: its watchdog, relay and admission; `deploy`: the command
   * line and, for those who use another one, the provider when it unpacks.
   */
  readonly enforcedBy: 'kernel' | 'provider' | 'deploy'
  /** How a call ends that breaks it, in its answer, its receipt and its owner's log; or what happens instead. */
  readonly breach: { readonly code: ErrorCode } | { readonly effect: string }
}

/** The limits of a program. Manifest, deployment spec, command line and README all take them from here. */
export const programLimits = {
  timeoutMs: {
    what: 'Wall time of a call, without the time that it waits for its caller',
    unit: 'ms',
    default: limits.callTimeoutMsDefault,
    min: 10,
    max: limits.callTimeoutMsMax,
    enforcedBy: 'provider',
    breach: { code: 'program_timeout' },
  },
  startMs: {
    what: 'Time until a program that was started can answer',
    unit: 'ms',
    default: limits.programStartTimeoutMs,
    max: limits.programStartTimeoutMs,
    enforcedBy: 'provider',
    breach: { code: 'program_timeout' },
  },
  cpuMs: {
    what: 'Processor time of a call',
    unit: 'ms',
    default: 'timeoutMs',
    min: 10,
    max: limits.callTimeoutMsMax,
    enforcedBy: 'provider',
    breach: { code: 'program_out_of_cpu' },
  },
  cpuPercent: {
    what: 'Processor at a time, of all its calls',
    unit: '% of a core',
    default: limits.programCpuPercentMax,
    max: limits.programCpuPercentMax,
    enforcedBy: 'kernel',
    breach: { effect: 'it is slowed down' },
  },
  memoryMiB: {
    what: 'Memory of all its calls; of each call where it is native and CGI',
    unit: 'MiB',
    default: limits.programMemoryMiBDefault,
    min: 16,
    max: limits.programMemoryMiBMax,
    enforcedBy: 'kernel',
    breach: { code: 'program_out_of_memory' },
  },
  pids: {
    what: 'Processes and threads',
    unit: 'processes',
    default: limits.programPidsMax,
    max: limits.programPidsMax,
    enforcedBy: 'kernel',
    breach: { code: 'program_out_of_pids' },
  },
  diskBytes: {
    what: 'Files in /tmp of a native program; js and wasm have none',
    unit: 'bytes',
    default: limits.nativeTmpBytesMax,
    max: limits.nativeTmpBytesMax,
    enforcedBy: 'kernel',
    breach: { effect: 'the write fails' },
  },
  concurrency: {
    what: 'Calls in flight',
    unit: 'calls',
    default: limits.callsInFlightPerInstanceMax,
    min: 1,
    max: limits.callsInFlightPerInstanceMax,
    enforcedBy: 'provider',
    breach: { code: 'concurrency_reached' },
  },
  webSocketMs: {
    what: 'How long a WebSocket lasts; two minutes without a byte end it, too',
    unit: 'ms',
    default: limits.webSocketMsMax,
    min: 1_000,
    max: limits.webSocketMsMax,
    enforcedBy: 'provider',
    breach: { effect: 'it is closed with 1001, and was answered' },
  },
  requestBytes: {
    what: "A request's body",
    unit: 'bytes',
    default: limits.requestBodyBytesMax,
    max: limits.requestBodyBytesMax,
    enforcedBy: 'provider',
    breach: { code: 'body_too_large' },
  },
  requestHeaderBytes: {
    what: "A request's head",
    unit: 'bytes',
    default: limits.headerBytesMax,
    max: limits.headerBytesMax,
    enforcedBy: 'provider',
    breach: { code: 'headers_too_large' },
  },
  responseBytes: {
    what: "An answer's body",
    unit: 'bytes',
    default: limits.responseBodyBytesMax,
    min: 0,
    max: limits.responseBodyBytesMax,
    enforcedBy: 'provider',
    breach: { code: 'program_output_too_large' },
  },
  responseHeaderBytes: {
    what: "An answer's head",
    unit: 'bytes',
    default: limits.answerHeaderBytesMax,
    max: limits.answerHeaderBytesMax,
    enforcedBy: 'provider',
    breach: { code: 'program_headers_too_large' },
  },
  egressRequests: {
    what: 'Requests of its own, for each call',
    unit: 'requests',
    default: limits.egressRequestsPerCallMax,
    max: limits.egressRequestsPerCallMax,
    enforcedBy: 'provider',
    breach: { code: 'program_egress_exceeded' },
  },
  egressSentBytes: {
    what: 'What those send',
    unit: 'bytes',
    default: limits.egressSentBytesPerCallMax,
    max: limits.egressSentBytesPerCallMax,
    enforcedBy: 'provider',
    breach: { code: 'program_egress_exceeded' },
  },
  egressReceivedBytes: {
    what: 'What those receive',
    unit: 'bytes',
    default: limits.egressReceivedBytesPerCallMax,
    max: limits.egressReceivedBytesPerCallMax,
    enforcedBy: 'provider',
    breach: { code: 'program_egress_exceeded' },
  },
  logBytes: {
    what: 'Its log, for 7 days',
    unit: 'bytes',
    default: limits.programLogBytesMax,
    max: limits.programLogBytesMax,
    enforcedBy: 'provider',
    breach: { effect: 'the oldest entries go' },
  },
  logEntriesPerSecond: {
    what: 'Entries of its log in a second',
    unit: 'entries',
    default: limits.programLogEntriesPerSecondMax,
    max: limits.programLogEntriesPerSecondMax,
    enforcedBy: 'provider',
    breach: { effect: 'the rest is left out, and the log says how many' },
  },
  zipBytes: {
    what: 'Its zip',
    unit: 'bytes',
    default: limits.zipBytesMax,
    max: limits.zipBytesMax,
    enforcedBy: 'deploy',
    breach: { code: 'content_too_large' },
  },
  zipUnpackedBytes: {
    what: 'The files of its zip together',
    unit: 'bytes',
    default: limits.zipUnpackedBytesMax,
    max: limits.zipUnpackedBytesMax,
    enforcedBy: 'deploy',
    breach: { code: 'content_too_large' },
  },
  zipRatio: {
    what: 'How much larger the files are than the zip',
    unit: 'times',
    default: limits.zipRatioMax,
    max: limits.zipRatioMax,
    enforcedBy: 'deploy',
    breach: { code: 'content_too_large' },
  },
  zipFiles: {
    what: 'Entries of its zip',
    unit: 'files',
    default: limits.zipEntriesMax,
    max: limits.zipEntriesMax,
    enforcedBy: 'deploy',
    breach: { code: 'content_too_large' },
  },
} as const satisfies Readonly<Record<string, ProgramLimit>>

export type ProgramLimitName = keyof typeof programLimits

/** Those that a deployment may set. */
export type SettableLimitName = {
  [N in ProgramLimitName]: (typeof programLimits)[N] extends { readonly min: number } ? N : never
}[ProgramLimitName]

export const programLimitNames = Object.keys(programLimits) as readonly ProgramLimitName[]

export const settableLimitNames = programLimitNames.filter(
  (name): name is SettableLimitName => 'min' in programLimits[name],
)

for (const name of settableLimitNames) {
  const { default: value, min, max } = programLimits[name]
  assert(min <= max && (typeof value === 'string' || value <= max), 'a default is within its bounds')
}

/** A value of a limit, as a deployment or a provider gives it. */
export const limitSchema = (name: SettableLimitName) =>
  z.number().int().min(programLimits[name].min).max(programLimits[name].max)

/** What deployments said from the beginning; all that came later may be absent, so that old signatures hold. */
export const limitShape = {
  timeoutMs: limitSchema('timeoutMs'),
  memoryMiB: limitSchema('memoryMiB'),
  cpuMs: limitSchema('cpuMs').optional(),
  concurrency: limitSchema('concurrency').optional(),
  responseBytes: limitSchema('responseBytes').optional(),
  webSocketMs: limitSchema('webSocketMs').optional(),
} as const satisfies Readonly<Record<SettableLimitName, z.ZodType>>

/** The limits that a deployment sets, each with a value. */
export type SetLimits = Readonly<Record<SettableLimitName, number>>

/** Some of them. */
export type SomeLimits = { readonly [N in SettableLimitName]?: number | undefined }

/** Fills in the defaults. */
export function resolveLimits(some: SomeLimits): SetLimits {
  const timeoutMs = some.timeoutMs ?? programLimits.timeoutMs.default
  return {
    timeoutMs,
    cpuMs: some.cpuMs ?? timeoutMs,
    memoryMiB: some.memoryMiB ?? programLimits.memoryMiB.default,
    concurrency: some.concurrency ?? programLimits.concurrency.default,
    responseBytes: some.responseBytes ?? programLimits.responseBytes.default,
    webSocketMs: some.webSocketMs ?? programLimits.webSocketMs.default,
  }
}

/** What a provider gives less of than the table, of the limits that deployments set. */
export const providerMaximaSchema = z.object({
  timeoutMs: limitSchema('timeoutMs').optional(),
  cpuMs: limitSchema('cpuMs').optional(),
  memoryMiB: limitSchema('memoryMiB').optional(),
  concurrency: limitSchema('concurrency').optional(),
  responseBytes: limitSchema('responseBytes').optional(),
  webSocketMs: limitSchema('webSocketMs').optional(),
} satisfies Readonly<Record<SettableLimitName, z.ZodType>>)

/** Which limits a deployment wants more of than a provider gives. What it does not say, it does not want. */
export function limitsBeyond(maxima: SomeLimits, asked: SomeLimits): readonly SettableLimitName[] {
  return settableLimitNames.filter((name) => (asked[name] ?? 0) > (maxima[name] ?? programLimits[name].max))
}
