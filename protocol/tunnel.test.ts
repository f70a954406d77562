import fc from 'fast-check'
import { privateKeyToAccount } from 'viem/accounts'
import { describe, expect, test } from 'vitest'
import { createTestClock } from './base/clock.ts'
import { isProtocolError, ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import {
  formatTunnelMessage,
  parseTunnelMessage,
  signTunnelSession,
  type TunnelSession,
  verifyTunnelSession,
} from './tunnel.ts'
import { createSessionKey, createTicketOffice, verifySessionProof } from './tunnel-ticket.ts'
import { marketDomain } from './typed-data.ts'

const domain = marketDomain({ chainId: 31_337, escrow: '0x00000000000000000000000000000000000e5c70' })
const account = privateKeyToAccount(`0x${'11'.repeat(32)}`)
const other = privateKeyToAccount(`0x${'22'.repeat(32)}`)
const nowSeconds = 1_700_000_000
const session: TunnelSession = {
  provider: account.address,
  gateway: 'gateway.example',
  nonce: `0x${'ab'.repeat(32)}`,
  validBefore: BigInt(nowSeconds + 60),
  sessionKey: `0x${'cd'.repeat(32)}`,
}
const { signal } = new AbortController()

describe('the proof of a provider', () => {
  test('holds for what was signed', async () => {
    const signature = await signTunnelSession(account, domain, session)
    expect(await verifyTunnelSession({ domain, session, signature, nowSeconds }, undefined, signal)).toBe(
      true,
    )
  })

  test.each<[string, Partial<TunnelSession>]>([
    ['another provider', { provider: other.address }],
    ['another gateway', { gateway: 'other.example' }],
    ['another nonce', { nonce: `0x${'ac'.repeat(32)}` }],
    ['another expiry', { validBefore: session.validBefore + 1n }],
    ['another session key', { sessionKey: `0x${'ce'.repeat(32)}` }],
  ])('does not hold for %s', async (_, change) => {
    const signature = await signTunnelSession(account, domain, session)
    const facts = { domain, session: { ...session, ...change }, signature, nowSeconds }
    expect(await verifyTunnelSession(facts, undefined, signal)).toBe(false)
  })

  test('does not hold on another chain, after its time, or for too long a time', async () => {
    const signature = await signTunnelSession(account, domain, session)
    const elsewhere = { ...domain, chainId: 1 }
    const late = nowSeconds + 60
    const early = nowSeconds - limits.tunnelProofAgeSecondsMax
    expect(
      await verifyTunnelSession({ domain: elsewhere, session, signature, nowSeconds }, undefined, signal),
    ).toBe(false)
    expect(
      await verifyTunnelSession({ domain, session, signature, nowSeconds: late }, undefined, signal),
    ).toBe(false)
    expect(
      await verifyTunnelSession({ domain, session, signature, nowSeconds: early }, undefined, signal),
    ).toBe(false)
  })

  test('of a contract account is asked of the contract, with the same hash', async () => {
    const asked: string[] = []
    const signature = await signTunnelSession(other, domain, session)
    const verify = async ({ address, hash }: { address: string; hash: string }) => {
      asked.push(address, hash)
      return true
    }
    expect(await verifyTunnelSession({ domain, session, signature, nowSeconds }, verify, signal)).toBe(true)
    expect(asked[0]).toBe(account.address)
    expect(asked[1]).toMatch(/^0x[0-9a-f]{64}$/)
  })

  test('is never an exception, whatever the signature is', async () => {
    const bytes = fc.uint8Array({ minLength: 64, maxLength: 70 })
    await fc.assert(
      fc.asyncProperty(bytes, async (noise) => {
        const signature = `0x${Buffer.from(noise).toString('hex')}` as const
        expect(await verifyTunnelSession({ domain, session, signature, nowSeconds }, undefined, signal)).toBe(
          false,
        )
      }),
    )
  })
})

describe('messages of the handshake', () => {
  test('survive the wire', () => {
    const hello = { type: 'hello', name: 'alice', sessionKey: session.sessionKey } as const
    expect(parseTunnelMessage(formatTunnelMessage<'hello'>(hello), ['hello'])).toEqual(hello)
  })

  test('are refused when something is missing, added, too long or of another type', () => {
    const hello = { type: 'hello', name: 'alice', sessionKey: session.sessionKey }
    const wrong = [
      '',
      'null',
      '[]',
      '{"type":"hello"}',
      JSON.stringify({ ...hello, extra: 1 }),
      JSON.stringify({ ...hello, name: '' }),
      JSON.stringify({ ...hello, ticket: 'x'.repeat(limits.tunnelHandshakeBytesMax) }),
      JSON.stringify({ type: 'session_proof', signature: `0x${'00'.repeat(64)}` }),
    ]
    for (const text of wrong) {
      expect(codeOf(() => parseTunnelMessage(text, ['hello']))).toBe('bad_request')
    }
  })

  test('any text is a message or a protocol error', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(['bad_request', undefined]).toContain(
          codeOf(() => parseTunnelMessage(text, ['hello', 'welcome'])),
        )
      }),
    )
  })

  test('a refusal comes out as the error that it is', () => {
    const refusal = new ProtocolError('tunnel_refused', 'No.', { hint: 'Go.' })
    const text = formatTunnelMessage<'refused'>({ type: 'refused', problem: refusal.toProblem() })
    expect(codeOf(() => parseTunnelMessage(text, ['welcome']))).toBe('tunnel_refused')
  })

  test('a refusal with a code that nobody knows is no refusal that is obeyed', () => {
    const text = JSON.stringify({ type: 'refused', problem: { code: 'toString', detail: '', hint: '' } })
    expect(codeOf(() => parseTunnelMessage(text, ['welcome']))).toBe('bad_request')
  })
})

describe('resume tickets', () => {
  function setup() {
    const clock = createTestClock()
    const key = Buffer.alloc(32, 7)
    const office = createTicketOffice(clock, { key, gatewayHost: 'gateway.example' })
    const sessionKey = createSessionKey()
    const ticket = { provider: account.address, sessionKey: sessionKey.publicKey }
    return { clock, key, office, sessionKey, ticket, text: office.issue(ticket) }
  }

  test('say for an hour who was admitted', async () => {
    const { clock, office, ticket, text } = setup()
    expect(office.verify(text)).toEqual(ticket)
    await clock.advance((limits.tunnelTicketAgeSecondsMax - 1) * 1000)
    expect(office.verify(text)).toEqual(ticket)
    await clock.advance(1000)
    expect(office.verify(text)).toBe(undefined)
  })

  test('are worth nothing at another gateway, under another key, or with any character changed', () => {
    const { clock, key, office, text } = setup()
    expect(createTicketOffice(clock, { key, gatewayHost: 'other.example' }).verify(text)).toBe(undefined)
    const otherKey = { key: Buffer.alloc(32, 8), gatewayHost: 'gateway.example' }
    expect(createTicketOffice(clock, otherKey).verify(text)).toBe(undefined)
    for (let index = 0; index < text.length; index++) {
      const changed = `${text.slice(0, index)}${text[index] === 'A' ? 'B' : 'A'}${text.slice(index + 1)}`
      expect(office.verify(changed)).toBe(undefined)
    }
    expect(office.verify('')).toBe(undefined)
  })

  test('need the session key, which signs for one gateway and one nonce', () => {
    const { sessionKey } = setup()
    const challenge = { gateway: 'gateway.example', nonce: session.nonce }
    const signature = sessionKey.sign(challenge)
    const proof = { sessionKey: sessionKey.publicKey, challenge, signature }
    expect(verifySessionProof(proof)).toBe(true)
    expect(verifySessionProof({ ...proof, challenge: { ...challenge, gateway: 'other' } })).toBe(false)
    expect(verifySessionProof({ ...proof, challenge: { ...challenge, nonce: `0x${'00'.repeat(32)}` } })).toBe(
      false,
    )
    expect(verifySessionProof({ ...proof, sessionKey: createSessionKey().publicKey })).toBe(false)
  })
})

function codeOf(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (error) {
    if (!isProtocolError(error)) throw error
    return error.code
  }
}
