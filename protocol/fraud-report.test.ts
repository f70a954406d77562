import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { market, randomHex } from '../test/support/money.ts'
import { digestOf } from '../test/support/votes.ts'
import { formatFraudReport, fraudReportSigner, parseFraudReport, signFraudReport } from './fraud-report.ts'

test('a report is signed as it stands: whatever of it is another, somebody else signed it, if anybody', async () => {
  const account = privateKeyToAccount(randomHex())
  const report = await signFraudReport(
    {
      ...{ version: 1, signed: 'krc1.x', deployment: 'bafy1', program: 'bafy2' },
      record: { method: 'POST', target: '/a', body: new Uint8Array([1, 2, 3]) },
      said: { status: 200, responseDigest: digestOf(1) },
      found: { status: 200, responseDigest: digestOf(2) },
      ...{ by: account.address, madeAt: 1_800_000_000 },
    },
    account,
    market,
  )
  const json = JSON.parse(formatFraudReport(report))
  const read = parseFraudReport(json)
  expect(read).toEqual(report)
  expect(read && (await fraudReportSigner(read, market))).toBe(account.address)
  const other = { ...market, chainId: market.chainId + 1 }
  expect(read && (await fraudReportSigner(read, other))).not.toBe(account.address)
  for (const changes of [
    { signed: 'krc1.y' },
    { deployment: 'bafy3' },
    { program: 'bafy3' },
    { record: { ...json.record, target: '/b' } },
    { said: { ...json.said, status: 201 } },
    { found: { ...json.found, responseDigest: digestOf(3) } },
    { madeAt: 1_800_000_001 },
  ]) {
    const changed = parseFraudReport({ ...json, ...changes })
    expect(changed && (await fraudReportSigner(changed, market))).not.toBe(account.address)
    expect(changed).toBeDefined()
  }
  for (const none of [{}, { signed: 'krc1.x' }, { ...json, record: {} }, { ...json, extra: 1 }])
    expect(parseFraudReport(none)).toBeUndefined()
})
