import { z } from 'zod'
import { limits } from '../../../protocol/limits.ts'
import {
  programLimits,
  type SettableLimitName,
  settableLimitNames,
} from '../../../protocol/program-limits.ts'
import {
  changePolicy,
  type PolicyChange,
  policyChangeSchema,
} from '../../../provider/policy/change-policy.ts'
import { type Policy, policySchema } from '../../../provider/policy/policy.ts'
import { readPolicy, writePolicy } from '../../../provider/policy/policy-file.ts'
import { type CommandContext, defineCommand, usageError } from '../../command.ts'
import { parseWholeNumber } from '../../duration.ts'
import { orderProvider } from '../../operate/order-provider.ts'
import { findProviderDir, providerOptions } from '../../operate/provider-dir.ts'

const answerSchema = z.object({
  policy: policySchema,
  pausedForFaults: z.array(z.object({ cid: z.string(), reason: z.string(), untilMs: z.number() })),
  places: z.object({
    calls: z.number(),
    waiting: z.number(),
    memoryMiB: z.number(),
    cores: z.number(),
  }),
})

export const providerPolicy = defineCommand({
  usage: 'provider policy [order] [what]…',
  details:
    'What a provider runs, and how much it gives away: at once where it runs, and for its next start. Orders are\n' +
    '  show                        what holds now\n' +
    '  allow|deny|forget <what>…   owners (0x…), CIDs of deployments or programs, runtimes, or egress (none, listed, public).\n' +
    '                              What is denied comes first; once owners or CIDs are allowed, only those run\n' +
    '  set <name>=<value>…         the most of a limit (memoryMiB=256), capacityMiB and capacityCores for all programs, faults=50 to pause a\n' +
    '                              deployment of whose calls more than 50 % fail (faults=50,20: of 20 calls or more), restSecondsMax=60 for the longest that a\n' +
    '                              program rests that dies again and again (0: it is always started again at once); =none undoes\n' +
    '  pause <cid> [why]           until "resume <cid>"\n' +
    '  reload                      read policy.json again\n' +
    'A call that is refused costs nothing. Calls in flight end as they would have.',
  options: providerOptions,
  examples: [
    'provider policy',
    'provider policy deny 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 native',
    'provider policy set memoryMiB=256 capacityMiB=4096 faults=50',
    'provider policy pause bafkrei… "it fills the disk of its users"',
  ],
  async run({ positionals: [order = 'show', ...words], values }, context) {
    const dir = await findProviderDir(values, context)
    const change = order === 'show' || order === 'reload' ? undefined : parseChange(order, words)
    const name = order === 'show' ? 'policy' : order === 'reload' ? 'policy-reload' : 'policy-change'
    const asked = { order: name, body: change ?? {}, bytesMax: limits.policyAnswerBytesMax } as const
    const answer = await orderProvider(dir, asked, context.signal)
    if (answer !== undefined) {
      const { policy, ...state } = answerSchema.parse(answer)
      context.print(describe(policy, state), { policy, ...state, isRunning: true })
      return
    }
    const policy = await changeFile(dir, change, context)
    context.print(describe(policy), { policy, isRunning: false })
  },
})

/** The provider does not run: what its next start reads is changed. */
async function changeFile(
  dir: string,
  change: PolicyChange | undefined,
  { clock }: CommandContext,
): Promise<Policy> {
  const policy = await readPolicy(dir)
  if (!change) return policy
  const next = changePolicy(policy, change, { nowMs: clock.nowMs(), specOf: () => undefined })
  await writePolicy(dir, next)
  return next
}

function parseChange(order: string, words: readonly string[]): PolicyChange {
  const parsed = policyChangeSchema.safeParse(draftChange(order, words))
  if (parsed.success) return parsed.data
  throw usageError(
    `"${order.slice(0, 40)}" needs something else.`,
    'See "khachapuri provider policy --help".',
  )
}

function draftChange(order: string, words: readonly string[]): unknown {
  const [cid, ...why] = words
  if (order === 'pause' || order === 'resume')
    return { kind: order, cid, ...(order === 'pause' && { reason: why.join(' ') }) }
  return order === 'set' ? parseSettings(words) : { kind: order, items: words }
}

function parseSettings(words: readonly string[]): unknown {
  const maxima: Partial<Record<SettableLimitName, number | null>> = {}
  const rest: Record<string, unknown> = {}
  for (const word of words) {
    const [name = '', text = ''] = word.split('=')
    const limit = settableLimitNames.find((one) => one === name)
    const value = (bounds: { min: number; max: number }) =>
      text === 'none' ? null : parseWholeNumber(name, text, bounds)
    if (limit) maxima[limit] = value(programLimits[limit])
    else if (name === 'capacityMiB') rest[name] = value({ min: limits.capacityMiBMin, max: 2 ** 24 })
    else if (name === 'capacityCores') rest[name] = value({ min: 1, max: 2 ** 16 })
    else if (name === 'restSecondsMax') rest[name] = value({ min: 0, max: limits.programRestSecondsMax })
    else if (name === 'faults') rest[name] = text === 'none' ? null : parseFaults(text)
    else
      throw usageError(
        `"${word.slice(0, 60)}" sets nothing.`,
        `Names are ${settableLimitNames.join(', ')}, capacityMiB, capacityCores, restSecondsMax, faults.`,
      )
  }
  return { kind: 'set', limits: maxima, ...rest }
}

function parseFaults(text: string): unknown {
  const [percent = '', calls] = text.split(',')
  return {
    faultPercentMax: parseWholeNumber('faults', percent, { min: 1, max: 100 }),
    ...(calls !== undefined && { callsMin: parseWholeNumber('faults', calls, { min: 1, max: 100_000 }) }),
  }
}

function describe(policy: Policy, state?: Omit<z.output<typeof answerSchema>, 'policy'>): string {
  const { allow, deny, faults, paused, capacityMiB, capacityCores } = policy
  const namesOf = ({ owners, cids, runtimes, egress }: Policy['allow']) => [
    ...owners,
    ...cids,
    ...runtimes,
    ...egress,
  ]
  const list = (names: readonly string[], none: string) =>
    names.length > 0 ? names.join('\n            ') : none
  const maxima = Object.entries(policy.limits).map(([name, value]) => `${name} ${value}`)
  const rule =
    faults &&
    `${faults.faultPercentMax} % of ${faults.callsMin} calls or more in ${faults.windowSeconds} s, for ${faults.pauseSeconds} s`
  const pauses = [...paused, ...(state?.pausedForFaults ?? [])].map(({ cid, reason }) =>
    `${cid} ${reason}`.trim(),
  )
  return [
    `allowed     ${list(namesOf(allow), 'everybody')}`,
    `denied      ${list(namesOf(deny), 'nobody')}`,
    `at most     ${list(maxima, 'what "khachapuri limits" says')}`,
    `capacity    ${capacityMiB === null ? 'any memory' : `${capacityMiB} MiB`}, ${capacityCores === null ? 'any cores' : `${capacityCores} cores`}`,
    `rests       ${policy.restSecondsMax === 0 ? 'nothing' : `what dies again and again, for up to ${policy.restSecondsMax} s`}`,
    `faults      ${rule ?? 'pause nothing'}`,
    `paused      ${list(pauses, 'nothing')}`,
    ...(state
      ? [
          `now         ${state.places.calls} calls, ${state.places.waiting} waiting, programs with ${state.places.memoryMiB} MiB`,
        ]
      : []),
  ].join('\n')
}
