import type { RequestListener } from 'node:http'
import { expect, test } from 'vitest'
import { formatAttempt } from '../../protocol/call-attempt.ts'
import { type ErrorCode, ProtocolError, problemType } from '../../protocol/errors.ts'
import { accountOf } from '../../test/support/gateway-front.ts'
import { openOrigin } from '../../test/support/http-origin.ts'
import { never } from '../../test/support/money.ts'
import { openHttp, readBody } from '../http.ts'
import { readHead } from './answer.ts'
import { type Asked, callFirstOf } from './first-of.ts'

const refuse =
  (code: ErrorCode, headers: Record<string, string> = {}): RequestListener =>
  (_, response) => {
    const error = new ProtocolError(code, 'No.', { hint: 'Ask another.' })
    response.writeHead(error.status, { 'content-type': problemType, ...headers })
    response.end(JSON.stringify(error.toProblem()))
  }

const answer: RequestListener = (_, response) => {
  response.writeHead(200, { 'khachapuri-call': '0x01' })
  response.end('ok')
}

/** What a gateway says of alice. */
const word = (outcome: 'unreached' | 'doubtful', code: ErrorCode) => ({
  'khachapuri-attempt': formatAttempt({ name: 'alice', address: accountOf('alice'), outcome, code }),
})

/** Asks alice, who does this, or at whom nobody is, and then bob, who answers. */
async function askBoth(alice: RequestListener | 'nobody') {
  await using first = await openOrigin(alice === 'nobody' ? answer : alice)
  await using second = await openOrigin(answer)
  const asked = ['alice', 'bob'].map((name) => ({ name, address: accountOf(name) }))
  const urls = new Map([
    ['alice', alice === 'nobody' ? 'http://127.0.0.1:1' : first.url],
    ['bob', second.url],
  ])
  const send = async ({ name }: Asked, onSent: () => void) => {
    onSent()
    const url = new URL(urls.get(name) ?? '')
    const response = await openHttp({ url, method: 'POST', body: Buffer.from('pay') }, never)
    return readHead(response, readBody(response, { url }, never))
  }
  const told = await callFirstOf(asked, send).catch((error: ProtocolError) => error)
  const attempts = (told instanceof Error ? told.details['attempts'] : told.attempts) as { outcome: string }[]
  return {
    status: told instanceof Error ? told.code : told.answer.status,
    outcomes: attempts.map(({ outcome }) => outcome),
    bobWasAsked: second.requests() > 0,
  }
}

const bobAnswers = (outcome: string) => ({
  status: 200,
  outcomes: [outcome, 'answered'],
  bobWasAsked: true,
})
const aliceAnswers = (status: number) => ({ status, outcomes: ['answered'], bobWasAsked: false })
const inDoubt = { status: 'call_in_doubt', outcomes: ['doubtful'], bobWasAsked: false }

test.each<[string, RequestListener | 'nobody', object]>([
  ['nobody is there', 'nobody', bobAnswers('unreached')],
  ['it is full', refuse('provider_busy'), bobAnswers('refused')],
  ['it wants another voucher', refuse('voucher_too_low'), bobAnswers('refused')],
  [
    'its tunnel is gone',
    refuse('provider_offline', word('unreached', 'provider_offline')),
    bobAnswers('unreached'),
  ],
  ['it answers', answer, aliceAnswers(200)],
  [
    'its program looks like a refusal',
    refuse('provider_busy', { 'khachapuri-call': '0x01' }),
    aliceAnswers(503),
  ],
  ['it does not take the pass', refuse('pass_invalid'), aliceAnswers(401)],
  ['it breaks off', (request) => request.socket.destroy(), inDoubt],
  ['it is lost behind a tunnel', refuse('tunnel_lost', word('doubtful', 'tunnel_lost')), inDoubt],
  ['it is full, and has begun', refuse('provider_busy', word('doubtful', 'provider_busy')), inDoubt],
])('where %s', async (_, alice, expected) => {
  expect(await askBoth(alice)).toEqual(expected)
})

test('what nobody takes is told as the first of them said it, with all who were asked', async () => {
  const asked = ['alice', 'bob'].map((name) => ({ name, address: accountOf(name) }))
  const send = async ({ name }: Asked) => {
    const code = name === 'alice' ? 'grant_missing' : 'provider_unreachable'
    throw new ProtocolError(code, 'No.', { hint: 'Try.' })
  }
  await expect(callFirstOf(asked, send)).rejects.toMatchObject({
    code: 'grant_missing',
    details: { attempts: [{ outcome: 'unreached' }, { name: 'bob', code: 'provider_unreachable' }] },
  })
  // What is no provider's fault ends it at once.
  const locked = new ProtocolError('keystore_locked', 'No.', { hint: 'Say it.' })
  await expect(callFirstOf(asked, () => Promise.reject(locked))).rejects.toBe(locked)
})
