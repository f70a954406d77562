import { getAddress, isAddress } from 'viem'
import { z } from 'zod'
import { ProtocolError } from '../../protocol/errors.ts'
import { parseContentCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import { runtimeKinds } from '../../protocol/program.ts'
import { providerMaximaSchema } from '../../protocol/program-limits.ts'
import { addressSchema, hexSchema } from '../../protocol/schema.ts'

/** What a program may reach: nothing, origins that its deployment lists, or all that is public. */
export const egressKinds = ['none', 'listed', 'public'] as const
export type EgressKind = (typeof egressKinds)[number]

export const cidSchema = z
  .string()
  .max(limits.cidBytesMax)
  .regex(/^[a-z0-9]+$/, 'Expected a CID')
const list = <T extends z.ZodType>(schema: T) => z.array(schema).max(limits.policyEntriesMax).default([])

const subjectShape = {
  owners: list(addressSchema),
  /** Of deployments, or of the programs in them. */
  cids: list(cidSchema),
  runtimes: list(z.enum(runtimeKinds)),
  egress: list(z.enum(egressKinds)),
}

const allowSchema = z.strictObject(subjectShape)
const denySchema = z.strictObject({
  ...subjectShape,
  /** Digests of what the owners of denied deployments signed: the same spec can be put under any number of CIDs. */
  specs: list(hexSchema(32)),
})

const faultRuleSchema = z.strictObject({
  /** Of its calls in the window, before a deployment is paused. */
  faultPercentMax: z.int().min(1).max(100),
  /** Fewer calls in the window say nothing. */
  callsMin: z.int().min(1).max(100_000).default(20),
  windowSeconds: z.int().min(10).max(86_400).default(300),
  pauseSeconds: z.int().min(10).max(86_400).default(600),
})

const pauseSchema = z.strictObject({
  cid: cidSchema,
  spec: hexSchema(32).nullable(),
  reason: z.string().max(limits.policyReasonCharsMax),
  sinceMs: z.int().min(0),
})

/** A provider's own rules, as they stand in `policy.json` in its directory. */
export const policySchema = z.strictObject({
  /** Where owners or CIDs are named, only those run; likewise for runtimes, and for egress. */
  allow: allowSchema.default(allowSchema.parse({})),
  /** Comes first. */
  deny: denySchema.default(denySchema.parse({})),
  /** What it gives at most, where that is less than the table. */
  limits: providerMaximaSchema.default({}),
  /** Memory that all programs together may hold, their runtimes included. */
  capacityMiB: z
    .int()
    .min(limits.capacityMiBMin)
    .max(2 ** 24)
    .nullable()
    .default(null),
  /** Processor cores that busy programs may use together; each counts with all that it may use. */
  capacityCores: z
    .int()
    .min(1)
    .max(2 ** 16)
    .nullable()
    .default(null),
  /** How long a program rests at most that dies again and again, before it is started once more; 0 for not at all. */
  restSecondsMax: z.int().min(0).max(limits.programRestSecondsMax).default(limits.programRestSecondsDefault),
  /** When a deployment is paused by itself; null for never. */
  faults: faultRuleSchema.nullable().default(null),
  /** By the operator, until they say otherwise. */
  paused: list(pauseSchema),
})

export type Policy = z.output<typeof policySchema>
export type FaultRule = z.output<typeof faultRuleSchema>

export const emptyPolicy: Policy = policySchema.parse({})

/** Something that a rule is about. */
export type Subject =
  | { readonly list: 'owners' | 'cids'; readonly name: string }
  | { readonly list: 'runtimes'; readonly name: (typeof runtimeKinds)[number] }
  | { readonly list: 'egress'; readonly name: EgressKind }

/** Reads an owner, a CID, a runtime or an egress, by its looks. @throws ProtocolError `usage_invalid` */
export function parseSubject(text: string): Subject {
  const runtime = runtimeKinds.find((kind) => kind === text)
  if (runtime) return { list: 'runtimes', name: runtime }
  const egress = egressKinds.find((kind) => kind === text)
  if (egress) return { list: 'egress', name: egress }
  if (isAddress(text, { strict: false })) return { list: 'owners', name: getAddress(text) }
  try {
    return { list: 'cids', name: parseContentCid(text).toString() }
  } catch (cause) {
    throw new ProtocolError('usage_invalid', `"${text.slice(0, 80)}" is no owner, CID, runtime or egress.`, {
      hint: `Write an address 0x…, a CID, one of ${runtimeKinds.join(', ')}, or one of ${egressKinds.join(', ')}.`,
      cause,
    })
  }
}
