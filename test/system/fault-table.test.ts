import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { utf8 } from '../../protocol/base/bytes.ts'
import { callHeaders, type Outcome } from '../../protocol/call.ts'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import { parseProblem, problemType } from '../../protocol/errors.ts'
import { damageBlock } from '../support/blocks.ts'
import { buildZip } from '../support/hostile-zip.ts'
import { echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { publish, publishSpec, readSpec } from '../support/specs.ts'
import {
  noMoney,
  openWaysToPay,
  sumMoney,
  type WayName,
  type WaysToPay,
  wayNames,
} from '../support/ways-to-pay.ts'

/**
 * KH-10: DESIGN's table of faults, each row with each way to pay. What each call costs is what the chain says before and
 * after it; why it ended so is in its receipt, where the program ran, and nowhere where it did not.
 */

let at: TestMarket
let ways: WaysToPay
/** A public spec of the echo program. */
let spec: DeploymentSpec
const cids = { owner: '', caller: '' }
/** The same with time for a long answer. */
const patientCids = { owner: '', caller: '' }
beforeAll(async () => {
  at = await openMarket()
  ways = await openWaysToPay(at, { name: 'alice', account: at.dev.accounts.alice.account })
  const flags = ['--memory', '64', '--calls-per-minute', 'none']
  for (const payer of ['owner', 'caller'] as const) {
    cids[payer] = (await at.deploy(echoProgram, ...flags, '--timeout', '1000', '--payer', payer)).cid
    patientCids[payer] = (await at.deploy(echoProgram, ...flags, '--timeout', '60000', '--payer', payer)).cid
  }
  // Each way has it die again, of which it would rest.
  const rests = await at.user.run([
    ...'provider policy set restSecondsMax=0 --dir'.split(' '),
    join(at.dir, 'alice'),
  ])
  expect(rests.exitCode).toBe(0)
  spec = await readSpec(at, (await at.deploy(echoProgram, '--public')).cid)
})
afterAll(() => at[Symbol.asyncDispose]())

const cidOf = (way: WayName, from = cids) => from[ways.all[way].payerChoice]

interface Seen {
  readonly callId: string | undefined
  readonly status: number
  /** The code of the problem document, where it is one. */
  readonly code: string | undefined
  /** Whether the answer came to its end. */
  readonly isWhole: boolean
}

async function begin(way: WayName, { cid = cidOf(way), path = '/' } = {}): Promise<ClientRequest> {
  const { port, domain } = at.dev.gateway
  // All deployments here cost the same, so a payment for one is as good for another, which may tell no terms.
  const headers = ['host', `alice.${domain}`, ...(await ways.all[way].headers({ cid: cidOf(way) }))]
  const call = request({ port, path: `/${cid}${path}`, headers, agent: false })
  return call.on('error', () => undefined).end()
}

/** Makes a call and reads as much of its answer as comes. */
async function see(way: WayName, where: { cid?: string; path?: string } = {}): Promise<Seen> {
  const [answer] = (await once(await begin(way, where), 'response')) as [IncomingMessage]
  const isProblem = answer.headers['content-type'] === problemType
  let text = ''
  answer.on('data', (chunk: Buffer) => {
    if (isProblem) text += chunk
  })
  await new Promise((resolve) => answer.on('error', () => undefined).on('close', resolve))
  return {
    callId: answer.headers[callHeaders.call] as string | undefined,
    status: answer.statusCode ?? 0,
    code: isProblem ? parseProblem(JSON.parse(text))?.code : undefined,
    isWhole: answer.complete,
  }
}

/** A call whose answer broke off is booked behind its caller's back, so its receipt is asked for until it is there. */
async function readReceipt(callId: string | undefined): Promise<Record<string, unknown>> {
  for (;;) {
    const answer = await at.call({ path: `/_/receipts/${callId}` })
    if (answer.status === 200) return answer.json()
  }
}

/** A program of this source, which nobody has run yet. */
async function publishProgram(
  source: string,
  payer: 'owner' | 'caller',
): Promise<{ cid: string; program: string }> {
  const program = await publish(at, buildZip([{ name: 'index.js', bytes: utf8.encode(source) }]))
  return { program, cid: await publishSpec(at, spec, { payer, program, entry: 'index.js' }) }
}

/** One after the other: a keeper takes few uploads of one owner at once. */
async function prepareAllWays<T>(make: (way: WayName) => Promise<T>): Promise<(T & { way: WayName })[]> {
  const made: (T & { way: WayName })[] = []
  for (const way of wayNames) made.push({ way, ...(await make(way)) })
  return made
}

describe.each(wayNames)('paid by %s', (way) => {
  const costOf = (isCharged: boolean) => (isCharged ? ways.all[way].price : noMoney)
  const priceOf = (isCharged: boolean) => (isCharged ? ways.all[way].receiptPrice : '0')
  const ownerPays = way === 'owner'

  test('an answer is an answer, whatever its status, and costs its price', async () => {
    const moved = await ways.movedBy(async () => {
      const seen = await see(way, { path: '/answer?status=500' })
      expect(seen).toMatchObject({ status: 500, code: undefined, isWhole: true })
      expect(await readReceipt(seen.callId)).toMatchObject({
        outcome: 'answered',
        status: 500,
        price: priceOf(true),
      })
    })
    expect(moved).toEqual(costOf(true))
  })

  test.each<[string, string, number, Outcome]>([
    ['throws', '/throw', 502, 'program_crashed'],
    ['never settles', '/never', 502, 'program_crashed'],
    ['answers with no Response', '/garbage', 502, 'program_output_invalid'],
    ['answers with a head beyond its limit', '/headers/30000', 502, 'program_headers_too_large'],
    ['waits beyond its time', '/hang', 504, 'program_timeout'],
    ['never gives the processor back', '/loop', 504, 'program_timeout'],
    ['takes all memory', '/heap', 502, 'program_out_of_memory'],
  ])('a program that %s is the cost of its owner alone', async (_what, path, status, outcome) => {
    expect((await see(way)).status).toBe(200)
    const moved = await ways.movedBy(async () => {
      const seen = await see(way, { path })
      expect(seen).toMatchObject({ status, code: outcome, isWhole: true })
      expect(await readReceipt(seen.callId)).toMatchObject({ outcome, status, price: priceOf(ownerPays) })
    })
    expect(moved).toEqual(costOf(ownerPays))
  })

  test.each<[string, string, () => string, Outcome]>([
    ['breaks its answer off', '/break/3000000', () => cidOf(way), 'program_crashed'],
    ['loops in the middle of its answer', '/loop-after/3000000', () => cidOf(way), 'program_timeout'],
    ['answers without end', '/flood', () => cidOf(way, patientCids), 'program_output_too_large'],
  ])(
    'a program that %s never looks done, and is the cost of its owner alone',
    async (_what, path, cid, outcome) => {
      expect((await see(way, { cid: cid() })).status).toBe(200)
      const moved = await ways.movedBy(async () => {
        const seen = await see(way, { cid: cid(), path })
        expect(seen).toMatchObject({ status: 200, isWhole: false })
        expect(await readReceipt(seen.callId)).toMatchObject({ outcome, price: priceOf(ownerPays) })
      })
      expect(moved).toEqual(costOf(ownerPays))
    },
  )

  test('a caller who leaves in the middle of an answer has had it', async () => {
    const moved = await ways.movedBy(async () => {
      const call = await begin(way, { cid: cidOf(way, patientCids), path: '/flood' })
      const [answer] = (await once(call, 'response')) as [IncomingMessage]
      answer.on('error', () => undefined)
      await once(answer, 'data')
      call.destroy()
      expect(await readReceipt(answer.headers[callHeaders.call] as string)).toMatchObject({
        outcome: 'caller_gone',
        status: 499,
        price: priceOf(true),
      })
    })
    expect(moved).toEqual(costOf(true))
  })

  const payer = ownerPays ? 'owner' : 'caller'

  test.each<[string, () => Promise<string>, number, string]>([
    [
      'whose program is no zip',
      async () => publishSpec(at, spec, { payer, program: await publish(at, utf8.encode('no zip')) }),
      422,
      'program_invalid',
    ],
    ['for another chain', () => publishSpec(at, spec, { payer, chainId: 1 }), 422, 'deployment_wrong_chain'],
    [
      'for another provider',
      () => publishSpec(at, spec, { payer, providers: [at.dev.providers.bob.address] }),
      403,
      'deployment_not_for_provider',
    ],
    [
      'that fails before its first answer',
      async () => (await publishProgram('throw new Error("not today")', payer)).cid,
      502,
      'program_crashed',
    ],
  ])(
    'a deployment %s costs nobody anything, and no call of it is on record',
    async (_what, make, status, code) => {
      const cid = await make()
      const moved = await ways.movedBy(async () => {
        const seen = await see(way, { cid })
        expect(seen).toEqual({ status, code, callId: undefined, isWhole: true })
      })
      expect(moved).toEqual(noMoney)
    },
  )

  test('a second call under one Idempotency-Key costs nothing, and another request under it nothing either', async () => {
    const cid = cidOf(way)
    const key = ['idempotency-key', `key of ${way}`]
    const send = async (path: string) =>
      at.call({ cid, path, rawHeaders: [...key, ...(await ways.all[way].headers({ cid }))] })
    const moved = await ways.movedBy(async () => {
      const [first, second] = [await send('/instance'), await send('/instance')]
      expect([first.status, second.text, second.header(callHeaders.replayed)]).toEqual([
        200,
        first.text,
        'true',
      ])
      expect((await send('/instance?other')).problem()).toMatchObject({
        status: 409,
        code: 'idempotency_conflict',
      })
    })
    expect(moved).toEqual(costOf(true))
  })

  test('a program fault under an Idempotency-Key costs its owner once, and others nothing', async () => {
    const cid = cidOf(way)
    const key = ['idempotency-key', `fault of ${way}`]
    const send = async () =>
      at.call({ cid, path: '/throw', rawHeaders: [...key, ...(await ways.all[way].headers({ cid }))] })
    const moved = await ways.movedBy(async () => {
      expect((await send()).problem().code).toBe('program_crashed')
      expect((await send()).problem().code).toBe(ownerPays ? 'idempotency_answer_gone' : 'program_crashed')
    })
    expect(moved).toEqual(costOf(ownerPays))
  })
})

// What is looked for everywhere takes its time, so all look at once.
describe('paid in all ways at once', () => {
  const missing = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

  test('a deployment whose program is nowhere costs nobody anything, and no call of it is on record', async () => {
    const lost = await prepareAllWays(async (way) => ({
      cid: await publishSpec(at, spec, { payer: ways.all[way].payerChoice, program: missing }),
    }))
    const moved = await ways.movedBy(() =>
      Promise.all(
        lost.map(async ({ way, cid }) => {
          const seen = await see(way, { cid })
          expect({ way, ...seen }).toEqual({
            way,
            status: 404,
            code: 'cid_not_found',
            callId: undefined,
            isWhole: true,
          })
        }),
      ),
    )
    expect(moved).toEqual(noMoney)
  })

  test('content that is damaged costs nobody anything; once it is mended the same payment pays', async () => {
    const damaged = await prepareAllWays(async (way) => {
      const source = `export default { fetch: () => new Response('mended for ${way}') }`
      const { cid, program } = await publishProgram(source, ways.all[way].payerChoice)
      const rawHeaders = await ways.all[way].headers({ cid })
      return { cid, rawHeaders, mend: await damageBlock(join(at.dir, 'gateway', 'blocks'), program) }
    })
    const moved = await ways.movedBy(() =>
      Promise.all(
        damaged.map(async ({ way, cid, rawHeaders }) => {
          const answer = await at.call({ cid, rawHeaders })
          expect([way, answer.status, answer.problem().code]).toEqual([way, 502, 'cid_mismatch'])
          expect(answer.header(callHeaders.call)).toBeUndefined()
        }),
      ),
    )
    expect(moved).toEqual(noMoney)
    for (const { mend } of damaged) await mend()
    const movedThen = await ways.movedBy(() =>
      Promise.all(
        damaged.map(async ({ way, cid, rawHeaders }) => {
          expect((await at.call({ cid, rawHeaders })).text).toBe(`mended for ${way}`)
        }),
      ),
    )
    expect(movedThen).toEqual(sumMoney(wayNames.map((way) => ways.all[way].price)))
  })
})
