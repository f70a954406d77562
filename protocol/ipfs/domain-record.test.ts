import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sha256, utf8 } from '../base/bytes.ts'
import { parseName } from '../name.ts'
import { cidOfRawDigest } from './cid.ts'
import { type DomainRecord, formatDomainRecord, parseDomainRecords } from './domain-record.ts'

const cid = cidOfRawDigest(sha256(utf8.encode('spec')))
const records: DomainRecord[] = [
  { kind: 'name', name: parseName('thumbs') },
  { kind: 'deployment', cid, providers: [] },
  { kind: 'deployment', cid, providers: [parseName('alice'), parseName('bob')] },
]

test.each(records)(
  'what $kind a domain stands for is found as it was written, among other texts',
  (record) => {
    const text = formatDomainRecord(record)
    expect(formatDomainRecord(parseDomainRecords(['v=spf1 -all', text])!)).toBe(text)
  },
)

test('texts of others mean nothing here', () => {
  expect(parseDomainRecords([])).toBeUndefined()
  expect(parseDomainRecords(['v=spf1', 'dnslink=/ipfs/bafy', ' khachapuri=thumbs', ''])).toBeUndefined()
})

test.each([
  'khachapuri=',
  'khachapuri=::garbage',
  'khachapuri=http://169.254.169.254',
  'khachapuri=localhost:4000',
  'khachapuri=a.b',
  `khachapuri=${cid} providers=http://127.0.0.1`,
  `khachapuri=${cid} providers=alice bob`,
  `khachapuri=${cid} other=1`,
  'khachapuri=thumbs providers=alice',
  `khachapuri=${'a'.repeat(100)}`,
  `khachapuri=${'a'.repeat(10 * 1024 * 1024)}`,
])('%.60j is no record', (text) => {
  expect(() => parseDomainRecords([text])).toThrow(expect.objectContaining({ code: 'name_records_invalid' }))
})

test('two records contradict each other, even where they are equal', () => {
  const text = formatDomainRecord(records[0]!)
  expect(() => parseDomainRecords([text, text])).toThrow(
    expect.objectContaining({ code: 'name_records_invalid' }),
  )
})

test('any text is a record, none, or a refusal', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 80 }), fc.boolean(), (text, isOurs) => {
      try {
        const record = parseDomainRecords([isOurs ? `khachapuri=${text}` : text])
        if (record) expect(['name', 'deployment']).toContain(record.kind)
      } catch (error) {
        expect(error).toMatchObject({ code: 'name_records_invalid' })
      }
    }),
  )
})
