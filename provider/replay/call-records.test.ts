import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { callInputToJson } from '../../protocol/call-record.ts'
import { toProtocolError } from '../../protocol/errors.ts'
import { problemResponse } from '../../protocol/http/problem-response.ts'
import { limits } from '../../protocol/limits.ts'
import { signStatementRequest } from '../../protocol/statement-request.ts'
import { createTempDir, market, provider, randomHex } from '../../test/support/money.ts'
import { digestOf } from '../../test/support/votes.ts'
import { openCallRecords } from './call-records.ts'
import { createRecordPages } from './record-pages.ts'

const [payer, owner, stranger] = [1, 2, 3].map(() => privateKeyToAccount(randomHex()))
const input = { method: 'POST', target: '/a?b', body: new Uint8Array([0, 255, 10]) }

function setup(dir: string, clock = createTestClock()) {
  const log = createTestLog()
  return {
    clock,
    log,
    open: (bytesMax?: number) => openCallRecords({ clock, log }, { dir, ...(bytesMax && { bytesMax }) }),
  }
}

test('a record is there for as long as it was to be, after a restart, too', async () => {
  using dir = createTempDir()
  const { clock, open } = setup(dir.path)
  const record = { input, readers: [payer!.address, owner!.address] }
  {
    await using records = open()
    records.add(digestOf(1), { ...record, seconds: 60 })
    records.add(digestOf(2), { ...record, seconds: 120 })
    await clock.advance(59_000)
  }
  await using records = open()
  expect(records.read(digestOf(1))).toEqual(record)
  expect(records.read(digestOf(3))).toBeUndefined()
  await clock.advance(1_000)
  expect(records.read(digestOf(1))).toBeUndefined()
  expect(records.read(digestOf(2))).toEqual(record)
})

test('where there is too much the oldest go, and a record that cannot be kept stops nothing', async () => {
  using dir = createTempDir()
  const { log, open } = setup(dir.path)
  await using records = open(40_000)
  for (let i = 1; i <= 20; i += 1)
    records.add(digestOf(i), { input: { ...input, body: Buffer.alloc(5_000) }, readers: [], seconds: 60 })
  const kept = Array.from({ length: 20 }, (_, i) => i + 1).filter((i) => records.read(digestOf(i)))
  // Each takes 5 000 bytes, its target, and half a KiB.
  expect(kept).toEqual([14, 15, 16, 17, 18, 19, 20])
  records.add(digestOf(20), { input, readers: [], seconds: 60 })
  expect(log.lines.map(({ event }) => event)).toEqual(['call_records_failed'])
})

test('what has ended is gone from the disk, too', async () => {
  using dir = createTempDir()
  const { clock, open } = setup(dir.path)
  await using records = open()
  const secret = 'nobody shall read this later'
  for (let i = 0; i < 40; i += 1)
    records.add(digestOf(i), { input: { ...input, body: Buffer.from(secret) }, readers: [], seconds: 60 })
  const isOnDisk = async () => {
    const names = (await readdir(dir.path)).filter((name) => name.startsWith('call-records'))
    const files = await Promise.all(names.map((name) => readFile(join(dir.path, name))))
    return files.some((bytes) => bytes.includes(secret))
  }
  expect(await isOnDisk()).toBe(true)
  await clock.advance(limits.callRecordsPruneIntervalMs)
  while (await isOnDisk()) await setImmediate()
})

test('who paid and who deployed the program see a record, and nobody else', async () => {
  using dir = createTempDir()
  const { clock, open } = setup(dir.path)
  await using callRecords = open()
  callRecords.add(digestOf(1), { input, readers: [payer!.address, owner!.address], seconds: 600 })
  const pages = createRecordPages({ clock, callRecords }, { provider, market })
  pages.onError((error) => problemResponse(toProtocolError(error)))
  const validBefore = Math.floor(clock.nowMs() / 1000) + 60
  const path = `/_/receipts/${digestOf(1)}/record`
  for (const [account, status] of [
    [payer, 200],
    [owner, 200],
    [stranger, 403],
  ] as const) {
    const request = { payer: account!.address, provider, validBefore }
    const token = await signStatementRequest(request, account!, market)
    const response = await pages.request(path, { headers: { authorization: `Bearer ${token}` } })
    expect(response.status).toBe(status)
    if (status === 200) expect(await response.json()).toEqual(callInputToJson(input))
  }
  expect((await pages.request(path)).status).toBe(403)
  expect((await pages.request(path.replace('0x0', '0x1'))).status).toBe(404)
})
