import type { Hex } from 'viem'
import { z } from 'zod'
import { type Outcome, outcomes } from './call.ts'
import { limits } from './limits.ts'
import { usdcSchema } from './schema.ts'
import type { Usdc } from './usdc.ts'

/** What a provider keeps of a deployment for its owner to read: its calls, what it printed, and what became of its process. */
export type ProgramLogEntry = ProgramLogCall | ProgramLogOutput | ProgramLogEvent

interface Place {
  /** Counts up over all entries of the provider. */
  readonly id: number
  /** Milliseconds since 1970. */
  readonly atMs: number
}

export interface ProgramLogCall extends Place {
  readonly kind: 'call'
  /** The beginning of the call's id: enough to find it by, and not to read its receipt, which says who paid. */
  readonly call: string
  readonly method: string
  /** Without the query, which may hold secrets of the caller. */
  readonly path: string
  readonly status: number
  readonly outcome: Outcome
  readonly durationMs: number
  readonly chargedUsdc: Usdc
  /** Why it failed, where it did. */
  readonly message?: string | undefined
}

export interface ProgramLogOutput extends Place {
  readonly kind: 'output'
  /** One line, without its end; values of the deployment's env are replaced by their names. */
  readonly text: string
}

export interface ProgramLogEvent extends Place {
  readonly kind: 'event'
  readonly text: string
}

/** Which entries are wanted. */
export interface ProgramLogQuery {
  /** Only what came after this entry. */
  readonly after?: number
  readonly sinceMs?: number
  /** Only calls with a status in this range. */
  readonly status?: { readonly min: number; readonly max: number }
  /** Only entries with this text in them. */
  readonly search?: string
}

/** `?after=<id>&since=<ms>&status=<min>-<max>&search=<text>`, asked for with a `StatementRequest` of the deployment's owner. */
export const programLogPath = (cid: string) => `/_/logs/${cid}`

export const callIdBeginning = (callId: Hex): string => callId.slice(0, 18)

export const programLogEntryToJson = (entry: ProgramLogEntry) => {
  if (entry.kind !== 'call') return entry
  const { chargedUsdc, ...call } = entry
  return { ...call, charged: chargedUsdc.toString() }
}

const countSchema = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const place = { id: countSchema, atMs: countSchema }
const textSchema = z.string().max(limits.programLogLineCharsMax * 2)

const entrySchema = z.discriminatedUnion('kind', [
  z
    .object({
      ...place,
      kind: z.literal('call'),
      call: z.string().max(66),
      method: z.string().max(32),
      path: textSchema,
      status: countSchema,
      outcome: z
        .string()
        .refine((name) => Object.hasOwn(outcomes, name))
        .transform((name) => name as Outcome),
      durationMs: countSchema,
      charged: usdcSchema,
      message: textSchema.optional(),
    })
    .transform(({ charged, ...call }): ProgramLogCall => ({ ...call, chargedUsdc: charged })),
  z.object({ ...place, kind: z.literal('output'), text: textSchema }),
  z.object({ ...place, kind: z.literal('event'), text: textSchema }),
])

/** The next entries in their order. A page may be short, or empty, and not be the last one. */
export interface ProgramLogPage {
  readonly entries: readonly ProgramLogEntry[]
  /** The last entry that was looked at; the next page is that `after` it. */
  readonly lookedTo: number
  /** There is nothing after it yet. */
  readonly isWhole: boolean
}

/** A page as it comes over the wire. */
export const programLogPageSchema = z.object({
  entries: z.array(entrySchema).max(limits.programLogPageEntriesMax),
  lookedTo: countSchema,
  isWhole: z.boolean(),
})
