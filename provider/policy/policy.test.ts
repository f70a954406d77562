import fc from 'fast-check'
import { getAddress, type Hex } from 'viem'
import { expect, test } from 'vitest'
import { limits } from '../../protocol/limits.ts'
import { runtimeKinds } from '../../protocol/program.ts'
import { programLimits } from '../../protocol/program-limits.ts'
import { changePolicy, type PolicyChange } from './change-policy.ts'
import { boundLimits, decideCid, decidePolicy, egressOf, type PolicyFacts } from './decide-policy.ts'
import { egressKinds, emptyPolicy, type Policy, parseSubject, policySchema } from './policy.ts'

const cids = [
  'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku',
  'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy',
]
const owners = ['a1', 'b2', 'c3'].map((byte) => getAddress(`0x${byte.repeat(20)}`))
const specs = ['01', '02'].map((byte): Hex => `0x${byte.repeat(32)}`)
const nowMs = 1_700_000_000_000
const unknown = { nowMs, specOf: () => undefined }

const facts: fc.Arbitrary<PolicyFacts> = fc.record({
  cid: fc.constantFrom(...cids),
  program: fc.constantFrom(...cids),
  specDigest: fc.constantFrom(...specs),
  spec: fc.record({
    owner: fc.constantFrom(...owners),
    runtime: fc.constantFrom(...runtimeKinds),
    limits: fc.record({
      timeoutMs: fc.integer(programLimits.timeoutMs),
      memoryMiB: fc.integer(programLimits.memoryMiB),
      concurrency: fc.option(fc.integer(programLimits.concurrency), { nil: undefined }),
      egress: fc.constantFrom<PolicyFacts['spec']['limits']['egress']>('none', 'public', [
        'https://a.example',
      ]),
    }),
  }),
})
const item = fc.constantFrom(...cids, ...owners, ...runtimeKinds, ...egressKinds)
const items = fc.uniqueArray(item, { minLength: 1, maxLength: 4 })
const change: fc.Arbitrary<PolicyChange> = fc.oneof(
  fc.record({ kind: fc.constantFrom('allow' as const, 'deny' as const, 'forget' as const), items }),
  fc.record({
    kind: fc.constant('pause' as const),
    cid: fc.constantFrom(...cids),
    reason: fc.constant('why'),
  }),
  fc.record({ kind: fc.constant('resume' as const), cid: fc.constantFrom(...cids) }),
  fc.record({
    kind: fc.constant('set' as const),
    limits: fc.record({ memoryMiB: fc.option(fc.integer(programLimits.memoryMiB), { nil: null }) }),
  }),
)
const policies = fc
  .array(change, { maxLength: 8 })
  .map((changes) => changes.reduce((policy, each) => changePolicy(policy, each, unknown), emptyPolicy))

const codeOf = (policy: Policy, one: PolicyFacts) => decidePolicy(policy, one)?.code
const apply = (policy: Policy, kind: 'allow' | 'deny' | 'forget', ...names: string[]) =>
  changePolicy(policy, { kind, items: names }, unknown)

test('without a rule everything runs', () => {
  fc.assert(
    fc.property(facts, (one) => {
      expect(codeOf(emptyPolicy, one)).toBeUndefined()
    }),
  )
})

test('whatever the other rules are, what is denied last does not run, each with its code', () => {
  fc.assert(
    fc.property(policies, facts, (policy, one) => {
      const { owner, runtime } = one.spec
      expect(codeOf(apply(policy, 'deny', one.cid), one)).toBe('deployment_denied')
      expect(codeOf(apply(policy, 'deny', one.program), one)).toBe('deployment_denied')
      expect(codeOf(apply(policy, 'deny', owner), one)).toMatch(/^(owner|deployment)_denied$/)
      expect(codeOf(apply(policy, 'deny', runtime), one)).toMatch(/^(owner|deployment|runtime)_denied$/)
      const egress = codeOf(apply(policy, 'deny', egressOf(one.spec.limits.egress)), one)
      expect(egress).toMatch(/^((owner|deployment|runtime)_denied|egress_refused)$/)
    }),
  )
})

test('what runs is neither denied nor left out of what is allowed, not paused, and within the limits', () => {
  fc.assert(
    fc.property(policies, facts, (policy, one) => {
      const { allow, deny, paused } = policy
      const { owner, runtime, limits: asked } = one.spec
      const named = [one.cid, one.program]
      const isAllowed =
        allow.owners.length + allow.cids.length === 0 ||
        allow.owners.includes(owner) ||
        named.some((cid) => allow.cids.includes(cid))
      const lists = [
        { allow: allow.runtimes, deny: deny.runtimes, name: runtime },
        { allow: allow.egress, deny: deny.egress, name: egressOf(asked.egress) },
      ] as readonly { allow: readonly string[]; deny: readonly string[]; name: string }[]
      const runs =
        isAllowed &&
        !deny.owners.includes(owner) &&
        !named.some((cid) => deny.cids.includes(cid)) &&
        lists.every(
          (list) =>
            !list.deny.includes(list.name) && (list.allow.length === 0 || list.allow.includes(list.name)),
        ) &&
        !paused.some(({ cid }) => cid === one.cid) &&
        asked.memoryMiB <= (policy.limits.memoryMiB ?? Number.POSITIVE_INFINITY)
      expect(codeOf(policy, one) === undefined).toBe(runs)
    }),
  )
})

test('a policy survives its file, is never altered in place, and what is forgotten leaves no trace', () => {
  fc.assert(
    fc.property(policies, items, (policy, names) => {
      const before = JSON.stringify(policy)
      const clean = apply(policy, 'forget', ...names)
      for (const kind of ['allow', 'deny'] as const)
        expect(apply(apply(policy, kind, ...names), 'forget', ...names)).toEqual(clean)
      expect(JSON.stringify(policy)).toBe(before)
      expect(policySchema.parse(JSON.parse(before))).toEqual(policy)
    }),
  )
})

test('a denied deployment is denied under whatever CID its spec is put, and before anything of it is fetched', () => {
  const [cid = '', other = ''] = cids
  const known = { nowMs, specOf: () => specs[0] }
  const policy = changePolicy(emptyPolicy, { kind: 'deny', items: [cid] }, known)
  expect(decideCid(policy, cid)?.code).toBe('deployment_denied')
  expect(decideCid(policy, other)).toBeUndefined()
  const elsewhere: PolicyFacts = {
    cid: other,
    program: other,
    specDigest: specs[0]!,
    spec: { owner: owners[0]!, runtime: 'js', limits: { timeoutMs: 10, memoryMiB: 16, egress: 'none' } },
  }
  expect(codeOf(policy, elsewhere)).toBe('deployment_denied')
  expect(codeOf(changePolicy(policy, { kind: 'forget', items: [cid] }, known), elsewhere)).toBeUndefined()
})

test('a paused deployment is paused under whatever CID its spec is put, and resumed by any of them', () => {
  const [cid = '', other = ''] = cids
  const known = { nowMs, specOf: () => specs[0] }
  const policy = changePolicy(emptyPolicy, { kind: 'pause', cid, reason: 'why' }, known)
  const elsewhere: PolicyFacts = {
    cid: other,
    program: other,
    specDigest: specs[0]!,
    spec: { owner: owners[0]!, runtime: 'js', limits: { timeoutMs: 10, memoryMiB: 16, egress: 'none' } },
  }
  expect(decideCid(policy, cid)?.code).toBe('deployment_paused')
  expect(codeOf(policy, elsewhere)).toBe('deployment_paused')
  expect(codeOf(policy, { ...elsewhere, specDigest: specs[1]! })).toBeUndefined()
  expect(codeOf(changePolicy(policy, { kind: 'resume', cid: other }, known), elsewhere)).toBeUndefined()
})

test('what a deployment did not ask for is no more than the provider gives', () => {
  const resolved = {
    ...{ timeoutMs: 1_000, cpuMs: 1_000, memoryMiB: 128, concurrency: 512 },
    ...{ responseBytes: 1_000, webSocketMs: 300_000 },
  }
  expect(boundLimits(resolved, { concurrency: 4 })).toEqual({ ...resolved, concurrency: 4 })
})

test('a list has an end, and what is no subject is refused', () => {
  const many = Array.from({ length: limits.policyEntriesMax + 1 }, (_, n) =>
    getAddress(`0x${n.toString(16).padStart(40, '0')}`),
  )
  expect(() => apply(emptyPolicy, 'deny', ...many)).toThrow(
    expect.objectContaining({ code: 'usage_invalid' }),
  )
  for (const text of ['', 'cobol', '0x12', 'bafy', '../x'])
    expect(() => parseSubject(text)).toThrow(expect.objectContaining({ code: 'usage_invalid' }))
})
