import { generateKeyPairSync, sign } from 'node:crypto'
import type { Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import { toHex } from '../../protocol/base/bytes.ts'
import type { DelegatedKey } from '../../protocol/receipt-key.ts'
import { lowerS, receiptGroupMessage } from '../../protocol/signed-receipt.ts'
import { type Vote, voteMessage } from '../../protocol/swarm/vote-message.ts'
import { type Market, marketSeparator } from '../../protocol/typed-data.ts'

/** The public point of a key, 32 bytes each. */
export interface ReceiptPoint {
  readonly x: Hex
  readonly y: Hex
}

/**
 * Signs the groups of receipts with a key of this process: made when it starts, never written anywhere, never out of this
 * thread. The account that holds the money signs once that the key is its own.
 */
export interface ReceiptSigner {
  readonly point: ReceiptPoint
  /** The key with its delegation; to be set before the first group. */
  key: DelegatedKey | undefined
  /** @returns `r ‖ s` over P-256 with the lower `s`, with the key that vouches for it. */
  sign(root: Hex): KeySignature
  /** The same of a vote in a swarm, as this provider's. */
  signVote(vote: Vote): KeySignature
}

export interface KeySignature {
  readonly signature: Hex
  readonly key: DelegatedKey
}

export function createReceiptSigner(market: Market): ReceiptSigner {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const { x, y } = publicKey.export({ format: 'jwk' })
  const coordinate = (text: string | undefined) => toHex(Buffer.from(text ?? '', 'base64url'))
  const separator = marketSeparator(market)
  const signing = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const
  function signMessage(message: Uint8Array): Hex {
    return toHex(lowerS(sign('sha256', message, signing)))
  }
  function takeKey(): DelegatedKey {
    assert(signer.key, 'the key was vouched for before the first group')
    return signer.key
  }
  const signer: ReceiptSigner = {
    point: { x: coordinate(x), y: coordinate(y) },
    key: undefined,
    sign: (root) => ({ signature: signMessage(receiptGroupMessage(root, separator)), key: takeKey() }),
    signVote(vote) {
      const key = takeKey()
      return { signature: signMessage(voteMessage(vote, key.provider, separator)), key }
    },
  }
  return signer
}
