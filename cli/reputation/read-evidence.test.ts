import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { formatKeptReceipt } from '../../protocol/kept-receipt.ts'
import { receiptLeaf, receiptToJson } from '../../protocol/receipt.ts'
import { formatSignedReceipt } from '../../protocol/signed-receipt.ts'
import {
  claimOf,
  createTempDir,
  createTestSigner,
  market,
  never,
  receiptOf,
} from '../../test/support/money.ts'
import type { CommandContext } from '../command.ts'
import { readEvidence } from './read-evidence.ts'

const signer = await createTestSigner()
const receipt = receiptOf(claimOf())
const signed = { market, receipt, path: [], ...signer.sign(receiptLeaf(receipt)) }
const word = formatSignedReceipt(signed)

test('receipts are read as each tool writes them, and what is none is counted', async () => {
  using dir = createTempDir()
  const rooted = formatKeptReceipt({ receipt, signed: undefined, proof: [receiptLeaf(receipt)] })
  const bare = JSON.stringify(receiptToJson(receipt))
  const files: Record<string, string> = {
    'word.txt': `${word}\n`,
    'head.txt': `HTTP/1.1 200 OK\r\nkhachapuri-receipt: ${word}\r\n\r\n`,
    'page.json': JSON.stringify({ ...receiptToJson(receipt), signed: word }, null, 2),
    'one-line.jsonl': `${rooted}\n`,
    // The last two lines show nothing that could be checked.
    'lines.jsonl': [rooted, formatKeptReceipt({ receipt, signed, proof: undefined }), bare, '{'].join('\n'),
    'notes.md': 'Not mine.',
    empty: '',
    'list.json': '[]',
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir.path, name), text)
  await mkdir(join(dir.path, 'folder'))
  const context = { cwd: dir.path, signal: never } as CommandContext
  const { receipts, reports, unreadable } = await readEvidence('.', context)
  expect(receipts.map((one) => one.receipt)).toEqual(receipts.map(() => receipt))
  const kinds = receipts.map((one) => (one.signed ? 'signed' : '') + (one.proof ? 'rooted' : ''))
  expect(kinds.sort()).toEqual(['rooted', 'rooted', 'signed', 'signed', 'signed', 'signed'])
  expect([reports.length, unreadable]).toEqual([0, 5])
  await expect(readEvidence('nowhere', context)).rejects.toMatchObject({ code: 'usage_invalid' })
})
