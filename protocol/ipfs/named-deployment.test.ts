import fc from 'fast-check'
import { hexToBytes } from 'viem'
import { expect, test } from 'vitest'
import { sha256, utf8 } from '../base/bytes.ts'
import { type DeploymentName, parseName } from '../name.ts'
import { cidOfRawDigest } from './cid.ts'
import { formatContenthash } from './contenthash.ts'
import { formatProviderList, parseNamedDeployment, parseProviderList } from './named-deployment.ts'

const cid = cidOfRawDigest(sha256(utf8.encode('spec')))
const account = '0x00000000000000000000000000000000000000A1'

const record = (changes: Partial<DeploymentName> = {}): DeploymentName => ({
  kind: 'deployment',
  name: parseName('thumbs'),
  owner: account,
  resolver: account,
  blockNumber: 1n,
  contenthash: hexToBytes(formatContenthash(cid)),
  providers: 'alice, Bob\nalice',
  ...changes,
})

test('a deployment’s name is its CID, and each of its providers once', () => {
  const named = parseNamedDeployment(record())
  expect(named.cid.toString()).toBe(cid.toString())
  expect(named.providers).toEqual(['alice', 'bob'])
})

test.each([
  '::garbage',
  'localhost:4000',
  'http://169.254.169.254',
  'alice,http://127.0.0.1',
  'alice.example',
  'älice',
  // KELVIN SIGN, which becomes a plain k in lower case.
  'bo\u212A',
  'a_b',
  `${'a'.repeat(64)}`,
  'alice;bob',
  '../alice',
  'alice\u0000',
  Array.from({ length: 17 }, (_, i) => `p${i}`).join(),
  'a'.repeat(10 * 1024 * 1024),
])('providers %.30j… are no list', (providers) => {
  expect(() => parseNamedDeployment(record({ providers }))).toThrow(
    expect.objectContaining({ code: 'name_records_invalid' }),
  )
})

test('content elsewhere is no deployment', () => {
  const contenthash = hexToBytes(
    '0xe40101fa011b20d1de9994b4d039f6548d191eb26786769f580809256b4685ef316805265ea162',
  )
  expect(() => parseNamedDeployment(record({ contenthash }))).toThrow(
    expect.objectContaining({ code: 'name_records_invalid' }),
  )
})

test('any list of names is read as it was written, and any text is a list or a refusal', () => {
  const name = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/).map(parseName)
  fc.assert(
    fc.property(fc.uniqueArray(name, { maxLength: 16 }), (names) => {
      expect(parseProviderList(formatProviderList(names))).toEqual(names)
    }),
    { numRuns: 30 },
  )
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (text) => {
      try {
        for (const listed of parseProviderList(text)) expect(listed).toMatch(/^[a-z0-9-]{1,63}$/)
      } catch (error) {
        expect(error).toMatchObject({ code: 'name_malformed' })
      }
    }),
  )
})
