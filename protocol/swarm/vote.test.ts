import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { hashTypedData } from 'viem'
import { expect, test } from 'vitest'
import { createReceiptSigner } from '../../provider/ledger/receipt-signer.ts'
import { addressOf, market } from '../../test/support/money.ts'
import { createVoter, digestOf, voteOf } from '../../test/support/votes.ts'
import { toHex } from '../base/bytes.ts'
import { isDelegated } from '../receipt-key.ts'
import { marketDomain, marketSeparator } from '../typed-data.ts'
import { countAlike, explainVote } from './check-votes.ts'
import { formatVote, isVoteSigned, parseVote, type SignedVote } from './vote.ts'
import { voteMessage, voteTypes } from './vote-message.ts'

const [alice, bob, carol] = [await createVoter(), await createVoter(), await createVoter()]
const checks = { isDelegated, nowSeconds: 1_700_000_000 }

test('what a key signs of a vote is what EIP-712 says', () => {
  const vote = voteOf({ status: 404 })
  const digest = hashTypedData({
    domain: marketDomain(market),
    types: voteTypes,
    primaryType: 'Vote',
    message: { provider: alice.address, ...vote },
  })
  const message = voteMessage(vote, alice.address, marketSeparator(market))
  expect(toHex(createHash('keccak-256').update(message).digest())).toBe(digest)
})

test('a vote goes through its word; with any other byte it is nobody’s', async () => {
  const signed = alice.sign(voteOf())
  const word = formatVote(signed)
  expect(parseVote(word)).toEqual(signed)
  expect(isVoteSigned(signed)).toBe(true)
  const bytes = Buffer.from(word.slice(5), 'base64url')
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const altered = Buffer.from(bytes)
      altered[at] = (altered[at] as number) ^ change
      const read = parseVote(`kvt1.${altered.toString('base64url')}`)
      expect(read && isVoteSigned(read) && (await isDelegated(read.key, read.market))).not.toBe(true)
    }),
    { numRuns: 60 },
  )
  for (const text of ['', 'kvt1.', word.slice(0, -1), `${word}A`, word.replace('kvt1', 'krc1')])
    expect(parseVote(text)).toBeUndefined()
})

test('votes count for the same answer, by members that were drawn, each once', async () => {
  const own = alice.sign(voteOf())
  const drawn = [alice.address, bob.address]
  const count = (...others: ReturnType<typeof bob.sign>[]) => countAlike(own, others, drawn, checks)
  const same = bob.sign(voteOf({ callId: digestOf(22), responseDigest: digestOf(88) }))
  expect(await count(same)).toBe(2)
  expect(await count(same, same, own)).toBe(2)
  expect(await count(carol.sign(voteOf()))).toBe(1)
  for (const changes of [
    { answerDigest: digestOf(99) },
    { status: 404 },
    { programId: digestOf(99) },
    { swarm: digestOf(99) },
    { deployment: digestOf(99) },
    { requestDigest: digestOf(99) },
    { candidates: digestOf(99) },
    { blockHash: digestOf(99) },
    { members: 4 },
    { agreeing: 2 },
  ])
    expect(await count(bob.sign(voteOf(changes)))).toBe(1)
  const { key, signature } = carol.sign(voteOf())
  // Whoever writes another's address over its own key.
  expect(await count({ ...same, key: { ...key, provider: bob.address }, signature })).toBe(1)
  expect(await count({ ...same, market: { ...market, chainId: 1 } })).toBe(1)
})

test('a vote is its provider’s, of this market, and of now', async () => {
  const signed = alice.sign(voteOf())
  const facts = { ...voteOf(), market }
  const explain = (changes: Partial<typeof checks> = {}, provider = alice.address, here = facts) =>
    explainVote(signed, provider, here, { ...checks, ...changes })
  expect(await explain()).toBeUndefined()
  expect(await explain({ nowSeconds: 2 ** 33 })).toContain('does not hold')
  expect(await explain({}, bob.address)).toContain('signed for')
  expect(
    await explain({}, alice.address, { ...facts, market: { ...market, escrow: addressOf(1) } }),
  ).toContain('market')
})

test('a vote that its member never signed counts for nothing, whoever shows it', async () => {
  const own = alice.sign(voteOf())
  const count = (vote: SignedVote) => countAlike(own, [vote], [alice.address, bob.address], checks)
  const honest = bob.sign(voteOf({ callId: digestOf(30) }))
  expect(await count(honest)).toBe(2)
  // By bob's own key, which has signed another answer.
  const { signature } = bob.sign(voteOf({ callId: digestOf(30), answerDigest: digestOf(31) }))
  expect(await count({ ...honest, signature })).toBe(1)
  // By a key that says that it is bob's, for which carol vouches.
  const signer = createReceiptSigner(market)
  signer.key = { ...carol.sign(voteOf()).key, ...signer.point, provider: bob.address }
  const unvouched = { market, vote: honest.vote, ...signer.signVote(honest.vote) }
  expect(isVoteSigned(unvouched)).toBe(true)
  expect(await count(unvouched)).toBe(1)
})
