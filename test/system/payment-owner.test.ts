import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatDeployment, signDeployment } from '../../protocol/deployment.ts'
import { type Deployed, echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'
import { publish, readSpec } from '../support/specs.ts'

/** KH-6 and KH-10: owners pay within what they signed, and who pays for what went wrong. */

let at: TestMarket
beforeAll(async () => {
  at = await openMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

const statusesOf = (answers: readonly { status: number }[]) => answers.map(({ status }) => status).sort()

describe("the owner's policy", () => {
  test('caps what a day costs, also when calls come all at once', async () => {
    const { cid } = await at.deploy(echoProgram, '--owner-per-day', '0.0015')
    const costs = await at.costsOf(async () => {
      const answers = await Promise.all(Array.from({ length: 8 }, () => at.call({ cid })))
      expect(statusesOf(answers)).toEqual([200, 200, 200, 402, 402, 402, 402, 402])
      const refused = answers.find(({ status }) => status === 402)
      expect(refused?.problem()).toMatchObject({ code: 'owner_cap_reached', cap: '1500', price: '500' })
    })
    expect(costs).toEqual({ paid: { developer: 1_500n }, earned: { alice: 1_500n } })
  })

  test('that is used up sends nobody for a pass where only the owner may pay', async () => {
    for (const [payer, hint] of [
      ['owner', /^Come back tomorrow \(UTC\), or ask the owner for more\.$/],
      ['any', /with a pass of your own\.$/],
    ] as const) {
      const { cid } = await at.deploy(echoProgram, '--payer', payer, '--owner-per-day', '0.0001')
      expect((await at.call({ cid })).problem()).toMatchObject({
        code: 'owner_cap_reached',
        hint: expect.stringMatching(hint),
      })
    }
  })

  test('caps the calls of a minute', async () => {
    const { cid } = await at.deploy(echoProgram, '--calls-per-minute', '2')
    const costs = await at.costsOf(async () => {
      const answers = await Promise.all(Array.from({ length: 6 }, () => at.call({ cid })))
      const refused = answers.filter(({ status }) => status === 402).map((answer) => answer.problem())
      // The minute may turn in between: then both minutes have their two.
      expect(answers.length - refused.length).toBeOneOf([2, 4])
      for (const problem of refused)
        expect(problem).toMatchObject({ code: 'owner_cap_reached', callsPerMinute: 2, retryable: true })
    })
    expect(costs.paid['developer']).toBeOneOf([1_000n, 2_000n])
  })

  test('lets only pages of its origins spend its money', async () => {
    const { cid } = await at.deploy(echoProgram, '--origin', 'https://page.example')
    const costs = await at.costsOf(async () => {
      for (const origin of [
        'https://evil.example',
        'https://page.example.evil.example',
        'http://page.example',
        'null',
      ]) {
        const answer = await at.call({ cid, rawHeaders: ['origin', origin] })
        expect(answer.status).toBe(403)
        expect(answer.problem().code).toBe('origin_not_allowed')
      }
      expect((await at.call({ cid })).problem().code).toBe('origin_not_allowed')
    })
    expect(costs).toEqual(nothing)
    const allowed = await at.costsOf(async () => {
      const answer = await at.call({ cid, rawHeaders: ['origin', 'https://page.example'] })
      expect(answer.status).toBe(200)
    })
    expect(allowed).toEqual({ paid: { developer: 500n }, earned: { alice: 500n } })
  })

  test('gives way to a pass where either may pay', async () => {
    const { cid } = await at.deploy(echoProgram, '--payer', 'any', '--owner-per-day', '0.0005')
    const costs = await at.costsOf(async () => {
      expect((await at.call({ cid })).status).toBe(200)
      expect((await at.call({ cid })).problem().code).toBe('owner_cap_reached')
      expect((await at.call({ cid, pass: await at.pass() })).status).toBe(200)
    })
    expect(costs).toEqual({ paid: { developer: 500n, payer: 500n }, earned: { alice: 1_000n } })
  })
})

describe('a spec that names an owner who did not sign it', () => {
  test('is refused, and the named owner pays nothing', async () => {
    const { cid } = await at.deploy(echoProgram, '--public')
    const spec = await readSpec(at, cid)
    const thief = privateKeyToAccount(generatePrivateKey())
    const byThief = await signDeployment({ ...spec, owner: thief.address }, thief)
    const victim = at.dev.accounts.payer.account.address
    const forged = await publish(at, formatDeployment({ ...byThief, owner: victim }))
    const costs = await at.costsOf(async () => {
      const answer = await at.call({ cid: forged })
      expect(answer.status).toBe(403)
      expect(answer.problem()).toMatchObject({ code: 'signature_invalid', hint: expect.any(String) })
    })
    expect(costs).toEqual(nothing)
  })

  test('is refused whichever field was changed after signing', async () => {
    const { cid } = await at.deploy(echoProgram, '--public', '--provider', 'bob')
    const { cid: otherCid } = await at.deploy(echoProgram, '--public', '--params', '{"x":1}')
    const spec = await readSpec(at, cid)
    const other = await readSpec(at, otherCid)
    const { alice, bob } = at.dev.providers
    const changes: Readonly<Record<string, object>> = {
      program: { program: otherCid },
      owner: { owner: at.dev.accounts.payer.account.address },
      params: { params: other.params },
      env: { env: { A: 'b' } },
      timeout: { limits: { ...spec.limits, timeoutMs: spec.limits.timeoutMs + 1 } },
      providers: { providers: [alice.address, bob.address] },
      payer: { payer: 'caller' },
      'day cap': { policy: { ...spec.policy, ownerPays: { ...spec.policy.ownerPays, maxUsdcPerDay: null } } },
      origins: { policy: { ...spec.policy, origins: ['https://page.example'] } },
      terms: { terms: spec.program },
      createdAt: { createdAt: spec.createdAt + 1 },
      signature: { signature: other.signature },
    }
    const costs = await at.costsOf(async () => {
      for (const [field, change] of Object.entries(changes)) {
        const altered = await publish(at, formatDeployment({ ...spec, ...change }))
        const answer = await at.call({ provider: 'bob', cid: altered })
        expect([field, answer.status, answer.problem().code]).toEqual([field, 403, 'signature_invalid'])
      }
    })
    expect(costs).toEqual(nothing)
  })
})

describe('what goes wrong', () => {
  const faults: readonly (readonly [string, string, number, string])[] = [
    ['a program that throws', '/throw', 502, 'program_crashed'],
    ['a program that rejects with no Error', '/reject', 502, 'program_crashed'],
    ['a program that never settles', '/never', 502, 'program_crashed'],
    ['a program that answers with no Response', '/garbage', 502, 'program_output_invalid'],
    ['a program that waits for too long', '/hang', 504, 'program_timeout'],
    ['a program that loops', '/loop', 504, 'program_timeout'],
    ['a program that takes all memory', '/heap', 502, 'program_out_of_memory'],
  ]
  const flags = ['--timeout', '1000', '--memory', '64', '--calls-per-minute', 'none']
  let byOwner: Deployed
  let byCaller: Deployed
  beforeAll(async () => {
    byOwner = await at.deploy(echoProgram, ...flags, '--payer', 'any')
    byCaller = await at.deploy(echoProgram, ...flags, '--payer', 'caller')
  })

  /** The program answers first, so that it is a warm one that fails. */
  async function warm(cid: string): Promise<void> {
    expect((await at.call({ cid, pass: await at.pass() })).status).toBe(200)
  }

  test.each(faults)('%s costs the owner who pays for its own program', async (_what, path, status, code) => {
    await warm(byOwner.cid)
    const costs = await at.costsOf(async () => {
      const answer = await at.call({ cid: byOwner.cid, path })
      expect([answer.status, answer.problem().code]).toEqual([status, code])
      const receipt = await at.call({ path: `/_/receipts/${answer.header('khachapuri-call')}` })
      expect(receipt.json()).toMatchObject({ outcome: code, price: '500', status })
    })
    expect(costs).toEqual({ paid: { developer: 500n }, earned: { alice: 500n } })
  })

  test.each(faults)('%s costs nothing to who pays with a pass', async (_what, path, status, code) => {
    await warm(byCaller.cid)
    const pass = await at.pass()
    const costs = await at.costsOf(async () => {
      const answer = await at.call({ cid: byCaller.cid, path, pass })
      expect([answer.status, answer.problem().code]).toEqual([status, code])
      expect(answer.problem().hint).not.toBe('')
      const receipt = await at.call({ path: `/_/receipts/${answer.header('khachapuri-call')}` })
      expect(receipt.json()).toMatchObject({ outcome: code, price: '0', status })
    })
    expect(costs).toEqual(nothing)
  })

  test('a program that breaks its answer off never looks whole, and a pass does not pay for it', async () => {
    await warm(byCaller.cid)
    const pass = await at.pass()
    const costs = await at.costsOf(async () => {
      await expect(at.call({ cid: byCaller.cid, path: '/break/3000000', pass })).rejects.toThrow()
    })
    expect(costs).toEqual(nothing)
  })

  test('a failing call leaves its neighbours alone', async () => {
    await warm(byCaller.cid)
    const pass = await at.pass()
    const costs = await at.costsOf(async () => {
      const [waited, thrown, told] = await Promise.all(
        ['/wait/300', '/throw', '/answer?status=500'].map((path) =>
          at.call({ cid: byCaller.cid, path, pass }),
        ),
      )
      expect([waited?.status, thrown?.status, told?.status]).toEqual([200, 502, 500])
    })
    // An answer is an answer, whatever its status.
    expect(costs).toEqual({ paid: { payer: 1_000n }, earned: { alice: 1_000n } })
  })

  test('a program that cannot start is nobody’s cost', async () => {
    const spec = await readSpec(at, (await at.deploy(echoProgram, '--public', '--payer', 'any')).cid)
    const signed = await signDeployment({ ...spec, entry: 'missing.js' }, at.dev.accounts.developer.account)
    const cid = await publish(at, formatDeployment(signed))
    const costs = await at.costsOf(async () => {
      const answer = await at.call({ cid })
      expect(answer.status).toBe(422)
      expect(answer.problem().code).toBe('program_invalid')
    })
    expect(costs).toEqual(nothing)
  })
})
