import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { hashRequest } from '../../protocol/call.ts'
import { ProtocolError, problemType } from '../../protocol/errors.ts'
import { createMerkleTree } from '../../protocol/merkle.ts'
import { type Receipt, receiptLeaf } from '../../protocol/receipt.ts'
import { formatSignedReceipt } from '../../protocol/signed-receipt.ts'
import { openOrigin } from '../../test/support/http-origin.ts'
import { claimOf, createTestSigner, market, provider, receiptOf } from '../../test/support/money.ts'
import { createTestUser, type TestUser } from '../testing.ts'

const signer = await createTestSigner()
const digestOf = (text: string) => createHash('sha256').update(text)
const body = 'hello\n'
const callId = `0x${'c1'.repeat(32)}` as const

function signReceipt(changes: Partial<Receipt> = {}): string {
  const receipt = receiptOf(claimOf({ callId }), {
    responseDigest: `0x${digestOf(body).digest('hex')}`,
    requestDigest: hashRequest({ method: 'GET', target: '/a?b', bodyDigest: digestOf('').digest() }),
    ...changes,
  })
  const tree = createMerkleTree([receiptLeaf(receipt), receiptLeaf({ ...receipt, status: 201 })])
  return formatSignedReceipt({ market, receipt, path: tree.proof(0), ...signer.sign(tree.root) })
}

const word = signReceipt()
const head = (changes: Record<string, string> = {}) => {
  const headers = {
    'Khachapuri-Call': callId,
    'Khachapuri-Price': '500',
    'Khachapuri-Receipt': word,
    'Content-Digest': `sha-256=:${digestOf(body).digest('base64')}:`,
    ...changes,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n${lines.join('')}\r\n`
}

async function verify(user: TestUser, text: string, ...flags: string[]) {
  await writeFile(join(user.dir, 'kept'), text)
  const { exitCode, stdout } = await user.run(['verify', 'kept', ...flags, '--json'])
  if (exitCode !== 0) return { exitCode, ...(JSON.parse(stdout) as { code: string; wrong?: string[] }) }
  const { checks } = JSON.parse(stdout) as { checks: { name: string; verdict: string }[] }
  return { exitCode, ok: checks.filter(({ verdict }) => verdict === 'ok').map(({ name }) => name) }
}

const signatures = ['signature', 'key', 'time']

test('a header alone, the JSON of a page, and what curl -D and curl -i wrote are receipts', async () => {
  await using user = await createTestUser()
  expect(await verify(user, `${word}\n`)).toEqual({ exitCode: 0, ok: signatures })
  expect(await verify(user, JSON.stringify({ signed: word }))).toEqual({ exitCode: 0, ok: signatures })
  const ofHead = [...signatures, 'call', 'response', 'status', 'price']
  expect(await verify(user, head())).toEqual({ exitCode: 0, ok: ofHead })
  expect(await verify(user, head() + body)).toEqual({ exitCode: 0, ok: ofHead })
  // Of an answer that streams, curl -D writes the trailers behind the head.
  const streamed = head().replace(/(Khachapuri-Receipt:.*\r\n)(Content-Digest:.*\r\n)\r\n/, '\r\n$2$1')
  expect(streamed.endsWith(`${word}\r\n`)).toBe(true)
  expect(await verify(user, streamed)).toEqual({ exitCode: 0, ok: ofHead })
  const given = ['--provider', provider.toLowerCase(), '--request', 'GET /a?b']
  expect((await verify(user, head(), ...given)).exitCode).toBe(0)
  const piped = await user.run(['verify', '-'], { stdin: word })
  expect(piped.stdout).toContain('ok     signature   by the receipt key, in a group of up to 2')
  expect(piped.stdout).toContain('-      response')
})

test('whatever does not fit is named', async () => {
  await using user = await createTestUser()
  const differs = (...wrong: string[]) => expect.objectContaining({ code: 'receipt_differs', wrong })
  expect(await verify(user, `${head()}hellO\n`)).toEqual(differs('response'))
  expect(await verify(user, head({ 'Khachapuri-Price': '499' }))).toEqual(differs('price'))
  expect(await verify(user, head({ 'Khachapuri-Call': `0x${'c2'.repeat(32)}` }))).toEqual(differs('call'))
  expect(await verify(user, head().replace('200 OK', '201 Created'))).toEqual(differs('status'))
  expect(await verify(user, word, '--request', 'GET /a?c')).toEqual(differs('request'))
  expect(await verify(user, word, '--request', 'POST /a?b')).toEqual(differs('request'))
  expect(await verify(user, word, '--provider', market.escrow)).toEqual(differs('provider'))
  const late = signReceipt({ startedAt: 2 ** 32 * 1000 })
  expect(await verify(user, late)).toEqual(differs('time'))
  const forged = `${word.slice(0, 50)}${word[50] === 'A' ? 'B' : 'A'}${word.slice(51)}`
  expect(await verify(user, forged)).toEqual(differs('signature'))
})

test('what a call that failed, or was free, costs is nothing, whatever the price', async () => {
  await using user = await createTestUser()
  const free = signReceipt({
    priceUsdc: claimOf({ priceUsdc: 0n as never }).priceUsdc,
    outcome: 'program_crashed',
    status: 502,
  })
  const dump = head({ 'Khachapuri-Receipt': free }).replace('200 OK', '502 Bad Gateway')
  expect((await verify(user, dump)).exitCode).toBe(0)
})

test('what is no receipt says what would be one', async () => {
  await using user = await createTestUser()
  const noReceipt = expect.objectContaining({ code: 'receipt_invalid' })
  for (const text of ['', 'hello', '{}', '{"signed":1}', 'krc1.AAAA', 'HTTP/1.1 200 OK\r\n\r\n'])
    expect(await verify(user, text)).toEqual(noReceipt)
  for (const argv of [
    ['verify', 'nowhere'],
    ['verify', 'kept', '--data', 'kept'],
    ['verify', 'kept', '--request', 'get /'],
    ['verify', 'kept', '--provider', 'alice'],
    ['verify', 'kept', '--on-chain'],
    ['verify'],
  ]) {
    await writeFile(join(user.dir, 'kept'), word)
    expect((await user.run(argv)).exitCode).toBe(2)
  }
})

test('a URL at which nobody is, or whose answer is a refusal of the network, is told as that', async () => {
  await using user = await createTestUser()
  const nobody = await user.run(['verify', 'http://127.0.0.1:1/x', '--json'])
  expect([nobody.exitCode, nobody.json()]).toMatchObject([1, { code: 'provider_unreachable' }])
  const refusal = new ProtocolError('provider_unknown', 'No provider has the name nobody.', {
    hint: 'Check it.',
  })
  await using gateway = await openOrigin((_, response) => {
    response.writeHead(refusal.status, { 'content-type': problemType })
    response.end(JSON.stringify(refusal.toProblem()))
  })
  for (const path of ['/x', '/_/receipts/0x01']) {
    const refused = await user.run(['verify', gateway.url + path, '--json'])
    expect(refused.json()).toMatchObject({ code: 'provider_unknown', hint: 'Check it.' })
  }
})
