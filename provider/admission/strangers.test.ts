import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { toProtocolError } from '../../protocol/errors.ts'
import { problemResponse } from '../../protocol/http/problem-response.ts'
import { limits } from '../../protocol/limits.ts'
import { signPass } from '../../protocol/pass.ts'
import { passRevocationPath, signPassRevocation } from '../../protocol/pass-revocation.ts'
import { statementPaths } from '../../protocol/statement.ts'
import { signStatementRequest } from '../../protocol/statement-request.ts'
import { usdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { formatVoucherToken, signVoucherAccess } from '../../protocol/voucher-token.ts'
import {
  addressOf,
  chargeCall,
  createTempDir,
  grantOf,
  market,
  openTestLedger,
  passOf,
  provider,
  randomHex,
} from '../../test/support/money.ts'
import { createAccountPages } from '../http/account-pages.ts'
import { createFindPayer } from './find-payer.ts'
import { createIdleChecks } from './idle-checks.ts'

/** Strangers know every payer's address from the chain, and can write it into what they forge. */

const payer = privateKeyToAccount(generatePrivateKey())
const stranger = privateKeyToAccount(generatePrivateKey())
const validBefore = 2 ** 31

/** A provider as those meet it who show tokens; `start` again is what a restart leaves. */
async function start(dir: string, clock = createTestClock()) {
  const ledger = await openTestLedger(dir, clock)
  const grants = { grant: () => grantOf({ payer: payer.address }), credits: () => undefined }
  const { revokedPasses, voucherAccesses, hasPaid } = ledger
  const idleChecks = createIdleChecks({ clock })
  const find = createFindPayer(
    { clock, log: createTestLog(), grants, revokedPasses, voucherAccesses, hasPaid, idleChecks },
    { provider, name: 'alice', market },
  )
  const pages = createAccountPages({ clock, ledger, grants }, { provider, market })
  pages.onError((error) => problemResponse(toProtocolError(error)))
  const call = (headers: Record<string, string>, from: string) =>
    find({
      headers: { ...headers, 'x-forwarded-for': from },
      socket: { remoteAddress: gateway },
      deployment: { spec: { payer: 'caller', owner: addressOf(0x0e4) } },
      priceUsdc: usdc(500n),
    })
  const post = async (token: string, from: string) => {
    const request = new Request(`http://alice${passRevocationPath}`, {
      method: 'POST',
      body: token,
      headers: { 'x-forwarded-for': from },
    })
    return (await pages.fetch(request, behind(gateway))).status
  }
  const readLanes = async (token: string, from: string) => {
    const headers = { authorization: `Bearer ${token}`, 'x-forwarded-for': from }
    const request = new Request(`http://alice${statementPaths.lanes}`, { headers })
    return (await pages.fetch(request, behind(gateway))).status
  }
  return { ledger, call, post, readLanes, clock, [Symbol.asyncDispose]: () => ledger[Symbol.asyncDispose]() }
}

const gateway = '198.51.100.1'
const behind = (remoteAddress: string) => ({ incoming: { socket: { remoteAddress } } })
const [here, elsewhere] = ['203.0.113.5', '203.0.113.66']

/** More than are checked of one name or place in a second. */
const flood = (send: (index: number) => Promise<unknown>) =>
  Promise.allSettled(Array.from({ length: 2 * limits.failuresPerSourcePerSecondMax }, (_, i) => send(i)))

const bearer = async (id = randomHex(), signer: LocalAccount = payer) => ({
  authorization: `Bearer ${await signPass(passOf({ payer: payer.address, id }), signer, market)}`,
})

async function voucher(calls: number, signer: LocalAccount = payer, accessSigner = signer) {
  const scope = { payer: payer.address, provider, epoch: 0 }
  const promised = { ...scope, maxAmount: usdc(BigInt(calls) * 500n), maxCalls: calls }
  const signed = {
    voucher: promised,
    signer: payer.address,
    signature: await signVoucher(promised, signer, market),
  }
  const access = await signVoucherAccess(scope, accessSigner, market)
  return { 'khachapuri-voucher': formatVoucherToken({ signed, access }) }
}

const revocation = (signer: LocalAccount = payer) =>
  signPassRevocation({ payer: payer.address, id: randomHex(), validBefore }, signer, market)

test('strangers who forge in a payer’s name keep none of its new passes, first vouchers, revocations and statements out', async () => {
  using dir = createTempDir()
  await using alice = await start(dir.path)
  const { ledger, call, post, readLanes, clock } = alice
  await chargeCall(ledger, {
    payer: { kind: 'owner', address: payer.address },
    grant: grantOf({ payer: payer.address }),
  })
  const soon = Math.floor(clock.nowMs() / 1000) + 60
  const statement = (signer: LocalAccount, index = 0) =>
    signStatementRequest({ payer: payer.address, provider, validBefore: soon + index }, signer, market)

  await flood(async () => call(await bearer(randomHex(), stranger), elsewhere))
  expect(await call(await bearer(), here)).toMatchObject({ kind: 'pass' })
  await flood(async (index) => call(await voucher(9 + index, stranger), elsewhere))
  expect(await call(await voucher(1), here)).toMatchObject({ kind: 'voucher' })
  await flood(async () => post(await revocation(stranger), elsewhere))
  expect(await post(await revocation(), here)).toBe(200)
  await flood(async (index) => readLanes(await statement(stranger, index), elsewhere))
  expect(await readLanes(await statement(payer), here)).toBe(200)
})

test('who shows an access that a provider has seen is known to it after a restart, wherever it calls from', async () => {
  using dir = createTempDir()
  const id = randomHex()
  {
    await using alice = await start(dir.path)
    await alice.call(await voucher(1), here)
    const pass = passOf({ payer: payer.address, id, validBefore })
    await chargeCall(alice.ledger, {
      payer: { kind: 'pass', address: payer.address, pass },
      grant: grantOf({ payer: payer.address }),
    })
  }
  await using alice = await start(dir.path)
  await flood(async (index) => alice.call(await voucher(9 + index, stranger), here))
  await expect(alice.call(await voucher(8, stranger), here)).rejects.toMatchObject({
    code: 'too_many_requests',
  })
  expect(await alice.call(await voucher(2), here)).toMatchObject({ kind: 'voucher' })
  await flood(async () => alice.call(await bearer(randomHex(), stranger), here))
  await expect(alice.call(await bearer(), here)).rejects.toMatchObject({ code: 'too_many_requests' })
  expect(await alice.call(await bearer(id), here)).toMatchObject({ kind: 'pass' })
})

test('who has the access and not the key fails in a bucket of its own', async () => {
  using dir = createTempDir()
  await using alice = await start(dir.path)
  await alice.call(await voucher(1), here)
  await flood(async (index) => alice.call(await voucher(9 + index, stranger, payer), elsewhere))
  await expect(alice.call(await voucher(3), here)).rejects.toMatchObject({ code: 'too_many_requests' })
  await alice.clock.advance(1_000)
  expect(await alice.call(await voucher(3), here)).toMatchObject({ kind: 'voucher' })
})

test('who connects here and says that it asks for everybody in turn fails as one', async () => {
  using dir = createTempDir()
  await using alice = await start(dir.path)
  const tried = await Promise.allSettled(
    Array.from({ length: 2 * limits.failuresPerPeerPerSecondMax }, async (_, index) =>
      alice.call(await bearer(randomHex(), stranger), `203.0.113.${index}`),
    ),
  )
  const codes = tried.map((one) => one.status === 'rejected' && one.reason.code)
  expect(codes.filter((code) => code === 'pass_invalid')).toHaveLength(limits.failuresPerPeerPerSecondMax)
})

test('a payer that revokes without end is told to wait, and its revocations that are known go on', async () => {
  using dir = createTempDir()
  await using alice = await start(dir.path)
  const known = await revocation()
  expect(await alice.post(known, here)).toBe(200)
  for (let i = 1; i < limits.passRevocationsPerPayerPerMinuteMax; i += 1)
    expect(await alice.post(await revocation(), here)).toBe(200)
  expect(await alice.post(await revocation(), here)).toBe(429)
  expect(await alice.post(known, here)).toBe(200)
})
