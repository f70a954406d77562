import fc from 'fast-check'
import type { Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { createTestClock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { isSignedByKey, parseSignedReceipt } from '../../protocol/read-receipt.ts'
import { isDelegated } from '../../protocol/receipt-key.ts'
import { usdc } from '../../protocol/usdc.ts'
import { verifyReceipt } from '../../protocol/verify-receipt.ts'
import {
  addressOf,
  chargeCall,
  claimOf,
  createTempDir,
  deployment,
  grantOf,
  market,
  never,
  openPolicy,
  openTestLedger,
  passOf,
  payer,
  provider,
  providerAccount,
  randomHex,
  receiptOf,
  reserve,
} from '../../test/support/money.ts'
import { openLedger } from './ledger.ts'

const codeOf = (result: ReturnType<Awaited<ReturnType<typeof openTestLedger>>['reserve']>) =>
  result.kind === 'refused' ? result.error.code : result.kind

test('ten calls at once on a grant for three: exactly three are reserved', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const grant = grantOf({ budgetUsdc: usdc(1_700n) })
  const codes = Array.from({ length: 10 }, () => codeOf(ledger.reserve(claimOf({ grant }))))
  expect(codes.filter((code) => code === 'reserved')).toHaveLength(3)
  expect(codes.filter((code) => code === 'grant_too_low')).toHaveLength(7)
})

test('a call that fails costs nothing, however it is left', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const grant = grantOf({ budgetUsdc: usdc(500n) })
  {
    using _reservation = reserve(ledger, claimOf({ grant }))
    expect(codeOf(ledger.reserve(claimOf({ grant })))).toBe('grant_too_low')
  }
  const released = reserve(ledger, claimOf({ grant }))
  released.release('program_crashed')
  released.release('again')
  await chargeCall(ledger, { grant })
  expect(codeOf(ledger.reserve(claimOf({ grant })))).toBe('grant_too_low')
})

test('what was charged is there after a restart: totals, receipt and what is left of the grant', async () => {
  using dir = createTempDir()
  const grant = grantOf({ budgetUsdc: usdc(1_200n) })
  const receipts = []
  {
    await using ledger = await openTestLedger(dir.path)
    receipts.push(await chargeCall(ledger, { grant }), await chargeCall(ledger, { grant }))
  }
  await using ledger = await openTestLedger(dir.path)
  for (const receipt of receipts) expect(await ledger.readReceipt(receipt.callId)).toEqual(receipt)
  expect(await ledger.readReceipt(randomHex())).toBeUndefined()
  expect(ledger.unsettled(() => grant)).toMatchObject([{ payer, amountUsdc: 1_000n, calls: 2 }])
  expect(codeOf(ledger.reserve(claimOf({ grant })))).toBe('grant_too_low')
})

test('every receipt is signed when its call ends, alone or with others, and shown again after a restart', async () => {
  using dir = createTempDir()
  const grant = grantOf({ budgetUsdc: usdc(1_000_000n) })
  const words = new Map<Hex, string>()
  {
    await using ledger = await openTestLedger(dir.path)
    const endCall = async () => {
      const claim = claimOf({ grant })
      words.set(claim.callId, (await reserve(ledger, claim).charge(receiptOf(claim))).signedReceipt)
    }
    await endCall()
    await Promise.all(Array.from({ length: 40 }, endCall))
    const free = receiptOf(claimOf(), { priceUsdc: usdc(0n), outcome: 'program_crashed' })
    words.set(free.callId, await ledger.record(free))
  }
  await using ledger = await openTestLedger(dir.path)
  for (const [callId, word] of words) {
    const signed = parseSignedReceipt(word)
    expect(signed?.receipt).toEqual(await ledger.readReceipt(callId))
    expect(signed && isSignedByKey(signed) && (await isDelegated(signed.key, market))).toBe(true)
    expect(await ledger.readSignedReceipt(callId)).toBe(word)
  }
  const paths = [...words.values()].map((word) => parseSignedReceipt(word)?.path.length ?? 0)
  expect(paths[0]).toBe(0)
  expect(Math.max(...paths)).toBeGreaterThan(2)
  expect(await ledger.readSignedReceipt(randomHex())).toBeUndefined()
})

test('a receipt holds however long nobody called, and however the clock was set', async () => {
  using dir = createTempDir()
  let nowMs = Date.UTC(2030, 5, 5, 12)
  const clock = { ...systemClock, nowMs: () => nowMs }
  await using ledger = await openTestLedger(dir.path, clock)
  const dayMs = 86_400_000
  for (const jumpMs of [0, 20 * dayMs, 31 * dayMs, 400 * dayMs, -dayMs, -450 * dayMs]) {
    nowMs += jumpMs
    const claim = claimOf()
    const receipt = receiptOf(claim, { startedAt: nowMs - 12 })
    const { signedReceipt } = await reserve(ledger, claim).charge(receipt)
    const signed = parseSignedReceipt(signedReceipt)
    const checks = signed && (await verifyReceipt(signed, { provider, market }))
    expect(checks?.filter(({ verdict }) => verdict === 'wrong')).toEqual([])
  }
})

test('where the account does not vouch for the key that signs receipts nothing is open, and the next try is', async () => {
  using dir = createTempDir()
  const account = {
    address: provider,
    signTypedData: () => Promise.reject(new Error('The wallet is locked.')),
  }
  const deps = { clock: systemClock, log: createTestLog() }
  await expect(openLedger(deps, { dir: dir.path, account, market }, never)).rejects.toThrow('locked')
  await using ledger = await openTestLedger(dir.path)
  await chargeCall(ledger)
})

test('a reservation is charged once', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const claim = claimOf()
  const reservation = reserve(ledger, claim)
  await reservation.charge(receiptOf(claim))
  expect(() => reservation.charge(receiptOf(claim))).toThrow('charged once')
  reservation.release()
  expect(ledger.unsettled(() => grantOf())).toMatchObject([{ amountUsdc: 500n, calls: 1 }])
})

test('a receipt without a price is kept and owes nothing', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const receipt = receiptOf(claimOf(), { priceUsdc: usdc(0n), outcome: 'platform_fault', status: 503 })
  await ledger.record(receipt)
  expect(await ledger.readReceipt(receipt.callId)).toEqual(receipt)
  expect(ledger.unsettled(() => grantOf())).toEqual([])
})

test('a pass keeps its cap over a restart, and calls in flight count', async () => {
  using dir = createTempDir()
  const pass = passOf({ maxSpend: usdc(1_500n) })
  const claim = () => claimOf({ payer: { kind: 'pass', address: payer, pass }, policy: undefined })
  {
    await using ledger = await openTestLedger(dir.path)
    const first = claim()
    await reserve(ledger, first).charge(receiptOf(first))
    const inFlight = [ledger.reserve(claim()), ledger.reserve(claim())]
    expect(inFlight.map(codeOf)).toEqual(['reserved', 'reserved'])
    expect(codeOf(ledger.reserve(claim()))).toBe('pass_exhausted')
  }
  await using ledger = await openTestLedger(dir.path)
  const codes = [ledger.reserve(claim()), ledger.reserve(claim()), ledger.reserve(claim())].map(codeOf)
  expect(codes).toEqual(['reserved', 'reserved', 'pass_exhausted'])
})

test('an owner pays up to its caps by day and by minute, over a restart too', async () => {
  using dir = createTempDir()
  const clock = createTestClock(Date.UTC(2030, 0, 1, 12, 0, 1))
  const policy = { ...openPolicy, ownerPays: { maxUsdcPerDay: usdc(1_500n), maxCallsPerMinute: 2 } }
  const claim = () => claimOf({ policy, nowSeconds: Math.floor(clock.nowMs() / 1000) })
  const refusal = (ledger: Awaited<ReturnType<typeof openTestLedger>>) => {
    const result = ledger.reserve(claim())
    return result.kind === 'refused' ? Object.keys(result.error.details) : result.kind
  }
  {
    await using ledger = await openTestLedger(dir.path, clock)
    await chargeCall(ledger, claim())
    await chargeCall(ledger, claim())
    expect(refusal(ledger)).toContain('callsPerMinute')
  }
  await using ledger = await openTestLedger(dir.path, clock)
  expect(refusal(ledger)).toContain('callsPerMinute')
  await clock.advance(60_000)
  await chargeCall(ledger, claim())
  expect(refusal(ledger)).toContain('cap')
  await clock.advance(12 * 3_600_000)
  expect(refusal(ledger)).toBe('reserved')
})

test('calls at once share what an owner pays in a day', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const policy = { ...openPolicy, ownerPays: { maxUsdcPerDay: usdc(1_500n), maxCallsPerMinute: null } }
  const codes = Array.from({ length: 10 }, () => codeOf(ledger.reserve(claimOf({ policy }))))
  expect(codes.filter((code) => code === 'reserved')).toHaveLength(3)
  expect(codes.filter((code) => code === 'owner_cap_reached')).toHaveLength(7)
})

test('a page that the owner does not pay for is told so', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const policy = { ...openPolicy, origins: ['https://shop.example'] }
  expect(codeOf(ledger.reserve(claimOf({ policy, origin: 'https://evil.example' })))).toBe(
    'origin_not_allowed',
  )
  expect(codeOf(ledger.reserve(claimOf({ policy, origin: 'https://shop.example' })))).toBe('reserved')
})

test('each refusal has its code and says what the call costs and what is left', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const refuse = (claim: Parameters<typeof claimOf>[0]) => {
    const result = ledger.reserve(claimOf(claim))
    if (result.kind === 'reserved') throw new Error('it was reserved')
    return [
      result.error.code,
      result.error.details['price'],
      result.error.details['cap'],
      result.error.details['left'],
    ]
  }
  const byPass = (changes: Parameters<typeof passOf>[0]) => ({
    payer: { kind: 'pass', address: payer, pass: passOf(changes) } as const,
    policy: undefined,
  })
  expect(refuse({ grant: undefined })).toEqual(['grant_missing', '500', undefined, undefined])
  expect(refuse({ grant: grantOf({ expiry: 1_700_000_003 }) })).toEqual([
    'grant_expired',
    '500',
    '1000',
    undefined,
  ])
  expect(refuse({ grant: grantOf({ budgetUsdc: usdc(499n) }) })).toEqual([
    'grant_too_low',
    '500',
    '1000',
    '499',
  ])
  expect(refuse({ priceUsdc: usdc(1_001n) })).toEqual(['price_above_cap', '1001', '1000', undefined])
  expect(refuse(byPass({ maxPricePerCall: usdc(400n) }))).toEqual([
    'price_above_cap',
    '500',
    '400',
    undefined,
  ])
  expect(refuse(byPass({ maxSpend: usdc(499n) }))).toEqual(['pass_exhausted', '500', '499', '499'])
  expect(refuse(byPass({ validBefore: 1_700_000_000 }))[0]).toBe('pass_expired')
  expect(refuse(byPass({ validAfter: 1_700_000_001 }))[0]).toBe('pass_invalid')
  expect(refuse(byPass({ providers: [addressOf(7)] }))[0]).toBe('pass_not_for_provider')
  expect(refuse(byPass({ deployment: randomHex() }))[0]).toBe('pass_not_for_deployment')
})

test('where the chain knows of more than the ledger, and that is proved, new charges come on top, and the log says so', async () => {
  using dir = createTempDir()
  const grant = grantOf({ spentUsdc: usdc(9_000n), calls: 18, budgetUsdc: usdc(600n) })
  const log = createTestLog()
  const told = () => log.lines.filter(({ event }) => event === 'ledger_behind_chain')
  let proved = { spentUsdc: usdc(8_999n), calls: 18 }
  const sought: unknown[] = []
  const proofs = {
    find: () => proved,
    seek: (_from: unknown, said: unknown) => void sought.push(said),
  }
  {
    await using ledger = await openLedger(
      { clock: systemClock, log, proofs },
      { dir: dir.path, account: providerAccount, market },
      never,
    )
    await chargeCall(ledger, { grant: grantOf() })
    expect(sought).toEqual([])
    // By one unit, or one call, it is not: what is owed stays as it was.
    expect(codeOf(ledger.reserve(claimOf({ grant })))).toBe('chain_disputed')
    proved = { spentUsdc: usdc(9_000n), calls: 17 }
    expect(codeOf(ledger.reserve(claimOf({ grant })))).toBe('chain_disputed')
    expect(sought).toEqual(Array(2).fill({ spentUsdc: 9_000n, calls: 18 }))
    expect(ledger.unsettled(() => grantOf())).toMatchObject([{ amountUsdc: 500n, calls: 1 }])
    expect(told()).toEqual([])
    proved = { spentUsdc: usdc(9_000n), calls: 18 }
    await chargeCall(ledger, { grant })
    expect(told()).toMatchObject([{ facts: { charged: '0.0005', spent: '0.009' } }])
    expect(codeOf(ledger.reserve(claimOf({ grant })))).toBe('grant_too_low')
  }
  await using ledger = await openTestLedger(dir.path, systemClock, log)
  expect(ledger.unsettled(() => grant)).toMatchObject([{ amountUsdc: 9_500n, calls: 19 }])
  expect(told()).toHaveLength(1)
})

test('a voucher of a later epoch goes on from what was charged in those before, and from no more', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const signed = (epoch: number) => ({
    voucher: { payer, provider, maxAmount: usdc(9_000n), maxCalls: 90, epoch },
    signer: payer,
    signature: `0x${'5f'.repeat(64)}1b` as const,
  })
  const reserveIn = async (epoch: number, spent: bigint, calls: number) => {
    await ledger.vouchers.accept(signed(epoch))
    const grant = grantOf({ signer: payer, epoch, spentUsdc: usdc(spent), calls })
    const claim = claimOf({ payer: { kind: 'voucher', address: payer, signed: signed(epoch) }, grant })
    return { claim, result: ledger.reserve(claim) }
  }
  const { claim, result } = await reserveIn(0, 0n, 0)
  if (result.kind === 'reserved') await result.reservation.charge(receiptOf(claim))
  expect(codeOf((await reserveIn(3, 501n, 1)).result)).toBe('chain_disputed')
  expect(codeOf((await reserveIn(3, 500n, 2)).result)).toBe('chain_disputed')
  expect(codeOf((await reserveIn(3, 500n, 1)).result)).toBe('reserved')
})

test('however its clock jumps, an owner pays for as many calls a minute as it says, and for as many in each', async () => {
  using dir = createTempDir()
  let [wallMs, monotonicMs] = [Date.UTC(2030, 5, 5, 12), 0]
  const clock = { ...systemClock, nowMs: () => wallMs, monotonicMs: () => monotonicMs }
  await using ledger = await openTestLedger(dir.path, clock)
  const callsMax = 3
  const policy = { ...openPolicy, ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: callsMax } }
  const jump = fc.constantFrom(0, 0, 0, -60_000, 60_000, 3_600_000, -3_600_000, 86_400_000, -86_400_000)
  const step = fc.record({ passedMs: fc.nat(40_000), jumpMs: jump })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const spec = randomHex()
      const takenMs: number[] = []
      for (const { passedMs, jumpMs } of steps) {
        monotonicMs += passedMs
        wallMs += passedMs + jumpMs
        const result = ledger.reserve(claimOf({ policy, spec, priceUsdc: usdc(0n) }))
        const withinMinute = takenMs.filter((atMs) => monotonicMs - atMs < 60_000).length
        if (result.kind === 'reserved') takenMs.push(monotonicMs)
        else expect(withinMinute).toBeGreaterThanOrEqual(callsMax)
        // Minutes follow one another: of two, the parts that meet may be full.
        expect(withinMinute).toBeLessThanOrEqual(2 * callsMax)
      }
    }),
  )
})

test('a minute that is still to come, by a clock that went back, is over after a minute, at a restart too', async () => {
  using dir = createTempDir()
  const policy = { ...openPolicy, ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: 1 } }
  const startMs = Date.UTC(2030, 0, 1, 12)
  {
    await using ledger = await openTestLedger(dir.path, createTestClock(startMs + 3_600_000))
    await chargeCall(ledger, { policy })
  }
  const clock = createTestClock(startMs)
  await using ledger = await openTestLedger(dir.path, clock)
  expect(codeOf(ledger.reserve(claimOf({ policy })))).toBe('owner_cap_reached')
  await clock.advance(60_000)
  expect(codeOf(ledger.reserve(claimOf({ policy })))).toBe('reserved')
})

test('a second opener is told that the ledger is in use, and the first goes on', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  await expect(openTestLedger(dir.path)).rejects.toMatchObject({
    code: 'ledger_unavailable',
    message: expect.stringContaining('open in another provider'),
  })
  await chargeCall(ledger)
})

test("another provider's or another market's ledger is refused", async () => {
  using dir = createTempDir()
  await (await openTestLedger(dir.path))[Symbol.asyncDispose]()
  const deps = { clock: systemClock, log: createTestLog() }
  const others = [
    { dir: dir.path, account: privateKeyToAccount(generatePrivateKey()), market },
    { dir: dir.path, account: providerAccount, market: { ...market, chainId: 1 } },
    { dir: dir.path, account: providerAccount, market: { ...market, escrow: addressOf(6) } },
  ]
  for (const options of others) {
    await expect(openLedger(deps, options, never)).rejects.toMatchObject({ code: 'config_invalid' })
  }
})

test('a closed ledger charges nothing, and says so', async () => {
  using dir = createTempDir()
  const ledger = await openTestLedger(dir.path)
  const claim = claimOf()
  const reservation = reserve(ledger, claim)
  await ledger[Symbol.asyncDispose]()
  await expect(reservation.charge(receiptOf(claim))).rejects.toMatchObject({ code: 'ledger_unavailable' })
  expect(codeOf(ledger.reserve(claimOf()))).toBe('ledger_unavailable')
  await using again = await openTestLedger(dir.path)
  expect(await again.readReceipt(claim.callId)).toBeUndefined()
})

test('many charges at once share groups and all get on disk', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  let heardUsdc = 0n
  ledger.onCharged((amountUsdc) => {
    heardUsdc += amountUsdc
  })
  const receipts = await Promise.all(Array.from({ length: 1_500 }, () => chargeCall(ledger)))
  expect(heardUsdc).toBe(750_000n)
  expect(ledger.unsettled(() => grantOf())).toMatchObject([{ amountUsdc: 750_000n, calls: 1_500 }])
  expect(await ledger.readReceipt(receipts[1_234]!.callId)).toEqual(receipts[1_234])
  expect(new Set(receipts.map((receipt) => receipt.callId)).size).toBe(1_500)
  expect(deployment).toBe(receipts[0]!.deployment)
})
