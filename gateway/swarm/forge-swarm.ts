import { generateKeyPairSync, sign } from 'node:crypto'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { assertFaultAllowed } from '../../protocol/dev-chain.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { delegateReceiptKey } from '../../protocol/receipt-key.ts'
import { lowerS } from '../../protocol/signed-receipt.ts'
import { digestAnswer } from '../../protocol/swarm/compare-answers.ts'
import type { SwarmResult } from '../../protocol/swarm/count-votes.ts'
import type { SignedVote } from '../../protocol/swarm/vote.ts'
import { voteMessage } from '../../protocol/swarm/vote-message.ts'
import { marketSeparator } from '../../protocol/typed-data.ts'

/** Ways in which a gateway lies on purpose, on development chains only. */
export const gatewayFaults = ['forge-swarm'] as const
export type GatewayFault = (typeof gatewayFaults)[number]

/** Reads `--fault`. @throws ProtocolError `config_invalid`, `fault_refused` */
export function parseGatewayFault(text: string, chainId: number): GatewayFault {
  const fault = gatewayFaults.find((name) => name === text)
  if (!fault) {
    throw new ProtocolError('config_invalid', `There is no fault "${text.slice(0, 40)}".`, {
      hint: `Faults: ${gatewayFaults.join(', ')}.`,
    })
  }
  assertFaultAllowed(chainId)
  return fault
}

/**
 * Changes the answer, and makes up accounts that vote for it under the members' names: all that a gateway can do that has none of their
 * keys. Every signature holds; whose they are, the registry knows.
 */
export async function forgeSwarm(result: SwarmResult): Promise<SwarmResult> {
  if (!result.answer) return result
  const body = Buffer.from(result.answer.body)
  if (body.length > 0) body[0] = (body[0] as number) ^ 1
  const answer = { ...result.answer, body }
  const members = await Promise.all(
    result.members.map(async (member) => {
      if (!member.vote) return member
      const vote = {
        ...member.vote.vote,
        responseDigest: toHex(sha256(body)),
        answerDigest: digestAnswer(answer),
      }
      const forged = await signAsNobody({ ...member.vote, vote })
      return {
        ...member,
        state: 'agrees' as const,
        address: forged.key.provider,
        vote: forged,
        receipt: undefined,
      }
    }),
  )
  return { ...result, members, answer }
}

async function signAsNobody({ vote, market, key }: SignedVote): Promise<SignedVote> {
  const account = privateKeyToAccount(generatePrivateKey())
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
  const point = { x: toHex(Buffer.from(x, 'base64url')), y: toHex(Buffer.from(y, 'base64url')) }
  const { validAfter, validBefore } = key
  const own = { provider: account.address, ...point, validAfter, validBefore }
  const message = voteMessage(vote, account.address, marketSeparator(market))
  const signature = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return {
    market,
    vote,
    key: await delegateReceiptKey(own, account, market),
    signature: toHex(lowerS(signature)),
  }
}
