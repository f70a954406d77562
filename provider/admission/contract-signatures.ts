import type { Address, PublicClient } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { readContractSignature } from '../../protocol/chain/contract-signature.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { AskContract, SignatureClaim } from '../../protocol/signed-by.ts'

/**
 * What contracts say of signatures in their name (ERC-1271), as of a block that is safe. Only what is new is asked on a call's
 * path, once. A contract may change its mind, so it is asked again now and then, behind the calls.
 */
export interface ContractSignatures {
  /** @throws ProtocolError `chain_unreachable` */
  readonly ask: AskContract
  /** The last word on a claim that was good when it was asked; starts another question where that is long ago. */
  isStillGood(claim: SignatureClaim): boolean
}

export interface ContractSignaturesDeps {
  readonly client: PublicClient
  readonly clock: Clock
  readonly log: Log
  /** The newest block that is safe. */
  readonly blockNumber: () => bigint
}

interface Word {
  isGood: boolean
  atMs: number
  isAsking: boolean
}

export function createContractSignatures({
  client,
  clock,
  log,
  blockNumber,
}: ContractSignaturesDeps): ContractSignatures {
  const words = createRecent<string, Word>(limits.contractsKnownMax)
  const code = createRecent<Address, { readonly isThere: Promise<boolean>; readonly atMs: number }>(
    limits.contractsKnownMax,
  )

  /** Most payers are keys, and whoever forges names them, too: they cost one request in a while. */
  function hasCode(address: Address, signal: AbortSignal): Promise<boolean> {
    const known = code.get(address)
    if (known && clock.monotonicMs() - known.atMs < limits.contractCodeAgeMsMax) return known.isThere
    const request = client.getCode({ address, blockNumber: blockNumber() })
    const isThere = reachChain(request, 'look for a contract', signal).then((found) => found !== undefined)
    code.set(address, { isThere, atMs: clock.monotonicMs() })
    isThere.catch(() => code.delete(address))
    return isThere
  }

  async function ask(claim: SignatureClaim): Promise<boolean> {
    const signal = AbortSignal.timeout(limits.rpcTimeoutMs)
    try {
      if (!(await hasCode(claim.address, signal))) return false
      const block = blockNumber()
      const isGood = await readContractSignature(client, { ...claim, blockNumber: block }, signal)
      log.debug('contract_asked', { address: claim.address, isGood, block: block.toString() })
      if (isGood) words.set(keyOf(claim), { isGood, atMs: clock.monotonicMs(), isAsking: false })
      return isGood
    } catch (error) {
      throw signal.aborted ? chainTooSlow() : error
    }
  }

  async function askAgain(claim: SignatureClaim, word: Word): Promise<void> {
    word.isAsking = true
    try {
      word.isGood = await ask(claim)
    } catch (error) {
      // Its last word stands: what it promised is in the escrow, wherever the chain is.
      log.warn('contract_not_asked', { address: claim.address, error: String(error) })
    } finally {
      word.isAsking = false
      word.atMs = clock.monotonicMs()
      words.set(keyOf(claim), word)
    }
  }

  return {
    ask,
    isStillGood(claim) {
      const word = words.get(keyOf(claim)) ?? {
        isGood: true,
        atMs: Number.NEGATIVE_INFINITY,
        isAsking: false,
      }
      const isOld = clock.monotonicMs() - word.atMs >= limits.contractSignatureAgeMsMax
      if (isOld && !word.isAsking) {
        words.set(keyOf(claim), word)
        void askAgain(claim, word)
      }
      return word.isGood
    },
  }
}

const keyOf = ({ address, hash, signature }: SignatureClaim) => address + hash + signature

const chainTooSlow = () =>
  new ProtocolError(
    'chain_unreachable',
    'The chain takes too long to say whether the payer’s contract signed.',
    {
      hint: 'Send it again.',
    },
  )
