import type { Hex } from 'viem'
import { z } from 'zod'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { limitSchema, type SettableLimitName, settableLimitNames } from '../../protocol/program-limits.ts'
import { type Policy, parseSubject, policySchema, type Subject } from './policy.ts'

const items = z.array(z.string().max(limits.cidBytesMax)).min(1).max(limits.policyItemsPerOrderMax)

const maximaShape = Object.fromEntries(
  settableLimitNames.map((name) => [name, limitSchema(name).nullable().optional()]),
) as Record<SettableLimitName, z.ZodOptional<z.ZodNullable<ReturnType<typeof limitSchema>>>>

/** A change that an operator orders. */
export const policyChangeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('allow'), items }),
  z.strictObject({ kind: z.literal('deny'), items }),
  /** Neither allowed nor denied any more. */
  z.strictObject({ kind: z.literal('forget'), items }),
  z.strictObject({
    kind: z.literal('set'),
    /** `null` takes a maximum away. */
    limits: z.strictObject(maximaShape).default({}),
    capacityMiB: policySchema.shape.capacityMiB.unwrap().optional(),
    capacityCores: policySchema.shape.capacityCores.unwrap().optional(),
    faults: policySchema.shape.faults.unwrap().optional(),
    /** `null` for the default. */
    restSecondsMax: policySchema.shape.restSecondsMax.unwrap().nullable().optional(),
  }),
  z.strictObject({
    kind: z.literal('pause'),
    cid: z.string().max(limits.cidBytesMax),
    reason: z.string().max(limits.policyReasonCharsMax).default(''),
  }),
  z.strictObject({ kind: z.literal('resume'), cid: z.string().max(limits.cidBytesMax) }),
])
export type PolicyChange = z.output<typeof policyChangeSchema>

/** What is known of the CIDs in a change. */
export interface ChangeFacts {
  readonly nowMs: number
  /** Digest of what the deployment's owner signed; undefined where the provider has not met it. */
  readonly specOf: (cid: string) => Hex | undefined
}

/**
 * The policy after a change. Neither is altered.
 *
 * @throws ProtocolError `usage_invalid` for what is no subject, or would be too much
 */
export function changePolicy(policy: Policy, change: PolicyChange, facts: ChangeFacts): Policy {
  const next = structuredClone(policy)
  switch (change.kind) {
    case 'allow':
      for (const subject of change.items.map(parseSubject)) {
        forget(next, subject, facts)
        add(next.allow, subject)
      }
      break
    case 'deny':
      for (const subject of change.items.map(parseSubject)) {
        forget(next, subject, facts)
        add(next.deny, subject)
        const spec = subject.list === 'cids' ? facts.specOf(subject.name) : undefined
        if (spec !== undefined && !next.deny.specs.includes(spec)) next.deny.specs.push(spec)
      }
      break
    case 'forget':
      for (const subject of change.items.map(parseSubject)) forget(next, subject, facts)
      break
    case 'set': {
      const maxima = Object.entries({ ...next.limits, ...change.limits })
      next.limits = Object.fromEntries(maxima.filter(([, value]) => typeof value === 'number'))
      if (change.capacityMiB !== undefined) next.capacityMiB = change.capacityMiB
      if (change.capacityCores !== undefined) next.capacityCores = change.capacityCores
      if (change.faults !== undefined) next.faults = change.faults
      if (change.restSecondsMax !== undefined)
        next.restSecondsMax = change.restSecondsMax ?? limits.programRestSecondsDefault
      break
    }
    case 'pause': {
      const cid = parseCid(change.cid)
      const spec = facts.specOf(cid) ?? null
      const pause = { cid, spec, reason: change.reason, sinceMs: facts.nowMs }
      next.paused = [...next.paused.filter((each) => each.cid !== cid), pause]
      break
    }
    case 'resume': {
      const cid = parseCid(change.cid)
      const spec = facts.specOf(cid) ?? next.paused.find((each) => each.cid === cid)?.spec
      next.paused = next.paused.filter(
        (each) => each.cid !== cid && (each.spec === null || each.spec !== spec),
      )
    }
  }
  return assertBounded(next)
}

function parseCid(text: string): string {
  const subject = parseSubject(text)
  if (subject.list === 'cids') return subject.name
  throw new ProtocolError('usage_invalid', `"${text.slice(0, 80)}" is no CID.`, {
    hint: 'Pause a deployment by the CID that callers use; deny an owner or a runtime instead.',
  })
}

function add(lists: Policy['allow'] | Policy['deny'], { list, name }: Subject): void {
  ;(lists[list] as string[]).push(name)
}

function forget({ allow, deny }: Policy, { list, name }: Subject, { specOf }: ChangeFacts): void {
  for (const lists of [allow, deny]) {
    const names = lists[list] as string[]
    const index = names.indexOf(name)
    if (index >= 0) names.splice(index, 1)
  }
  const spec = list === 'cids' ? specOf(name) : undefined
  if (spec !== undefined) deny.specs = deny.specs.filter((each) => each !== spec)
}

function assertBounded(policy: Policy): Policy {
  const parsed = policySchema.safeParse(policy)
  if (parsed.success) return parsed.data
  throw new ProtocolError(
    'usage_invalid',
    `A list of a policy has at most ${limits.policyEntriesMax} entries.`,
    {
      hint: 'Forget some that no longer matter, or deny an owner instead of each of its deployments.',
    },
  )
}
