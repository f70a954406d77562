import type { Address, Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { delegateReceiptKey } from '../../protocol/receipt-key.ts'
import type { SignedVote } from '../../protocol/swarm/vote.ts'
import type { Vote } from '../../protocol/swarm/vote-message.ts'
import { createReceiptSigner } from '../../provider/ledger/receipt-signer.ts'
import { market } from './money.ts'

export const digestOf = (byte: number): Hex => `0x${byte.toString(16).padStart(2, '0').repeat(32)}`

export const voteOf = (changes: Partial<Vote> = {}): Vote => ({
  swarm: digestOf(1),
  callId: digestOf(2),
  programId: digestOf(3),
  deployment: digestOf(4),
  candidates: digestOf(5),
  blockHash: digestOf(6),
  requestDigest: digestOf(7),
  responseDigest: digestOf(8),
  answerDigest: digestOf(9),
  status: 200,
  members: 5,
  agreeing: 3,
  ...changes,
})

/** A provider that votes with a key of its own. */
export interface Voter {
  readonly address: Address
  sign(vote: Vote): SignedVote
}

export async function createVoter(): Promise<Voter> {
  const account = privateKeyToAccount(generatePrivateKey())
  const signer = createReceiptSigner(market)
  const key = { provider: account.address, ...signer.point, validAfter: 0, validBefore: 2 ** 32 - 1 }
  signer.key = await delegateReceiptKey(key, account, market)
  return {
    address: account.address,
    sign: (vote) => ({ market, vote, ...signer.signVote(vote) }),
  }
}
