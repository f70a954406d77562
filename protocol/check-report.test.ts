import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import {
  addressOf,
  claimOf,
  createTestSigner,
  market,
  provider,
  randomHex,
  receiptOf,
} from '../test/support/money.ts'
import { digestOf } from '../test/support/votes.ts'
import { hashInput } from './call-record.ts'
import { checkReport } from './check-report.ts'
import { type FraudReportDraft, signFraudReport } from './fraud-report.ts'
import { receiptLeaf } from './receipt.ts'
import { formatSignedReceipt } from './signed-receipt.ts'

const signer = await createTestSigner()
const account = privateKeyToAccount(randomHex())
const record = { method: 'POST', target: '/a', body: new Uint8Array([1]) }
const receipt = receiptOf(claimOf(), { requestDigest: hashInput(record) })
const wordOf = (one: typeof receipt) =>
  formatSignedReceipt({ market, receipt: one, path: [], ...signer.sign(receiptLeaf(one)) })
const said = { status: receipt.status, responseDigest: receipt.responseDigest }
const draft: FraudReportDraft = {
  ...{ version: 1, signed: wordOf(receipt), deployment: 'bafy1', program: 'bafy2' },
  ...{ record, said, found: { ...said, responseDigest: digestOf(2) } },
  ...{ by: account.address, madeAt: 1_800_000_000 },
}
const kindOf = async (changes: Partial<FraudReportDraft>, scope = { provider, market }) =>
  (await checkReport(await signFraudReport({ ...draft, ...changes }, account, market), scope)).kind

test('a report counts where receipt, record and signature hold, and it contradicts what was signed', async () => {
  expect(await kindOf({})).toBe('claimed')
  expect(await kindOf({ found: { ...said, status: 404 } })).toBe('claimed')
  const [, signature = ''] = /^krc1\.(.*)$/.exec(draft.signed) ?? []
  for (const changes of [
    { found: said },
    { said: { ...said, status: 201 } },
    { said: { ...said, responseDigest: digestOf(3) } },
    { record: { ...record, target: '/b' } },
    { record: { ...record, body: new Uint8Array() } },
    { signed: 'krc1.x' },
    { signed: `krc1.A${signature.slice(1)}` },
    { signed: wordOf({ ...receipt, outcome: 'platform_fault' }) },
    { by: addressOf(9) },
  ])
    expect(await kindOf(changes), JSON.stringify(Object.keys(changes))).toBe('forged')
  expect(await kindOf({}, { provider: addressOf(8), market })).toBe('foreign')
  expect(await kindOf({}, { provider, market: { ...market, chainId: 1 } })).toBe('foreign')
})
