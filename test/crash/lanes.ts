import type { Address, Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import { parseProblem } from '../../protocol/errors.ts'

/** What clients know of one payer's calls: the third of the three books. */
export interface ClientBook {
  /** How it pays: for messages. */
  readonly way: string
  readonly payer: Address
  /** Calls whose whole answer arrived, by their ids. */
  readonly answered: Set<Hex>
  /** Requests after which the client cannot know whether it was served: broken off, or refused by a ledger that fails. */
  unknown: number
  /** Refusals by their code: none of them may cost anything. */
  readonly refused: Map<string, number>
}

export const createBook = (way: string, payer: Address): ClientBook => ({
  way,
  payer,
  answered: new Set(),
  unknown: 0,
  refused: new Map(),
})

/** Where the provider is now; lanes wait at it while it is dead. */
export interface Gate {
  /** @returns undefined once the lanes are to end, unless something is begun that must be ended first. */
  pass(isBusy: boolean): Promise<string | undefined>
}

export interface LaneRequest {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}

/** Makes one call after the other until the gate says that it is over. */
export async function runLane(
  gate: Gate,
  book: ClientBook,
  nextRequest: (url: string) => Promise<LaneRequest>,
): Promise<void> {
  for (;;) {
    const url = await gate.pass(false)
    if (url === undefined) return
    await nextRequest(url).then(
      (request) => callOnce(url, request, book),
      () => 'unknown',
    )
  }
}

/** Calls that are the same until they are answered: what came in between must not cost a second time. */
export async function runRepeatingLane(
  gate: Gate,
  book: ClientBook,
  nextRequest: (url: string) => Promise<LaneRequest>,
): Promise<void> {
  let request: LaneRequest | undefined
  for (;;) {
    const url = await gate.pass(request !== undefined)
    if (url === undefined) return
    request ??= await nextRequest(url).catch(() => undefined)
    if (!request) continue
    const end = await callOnce(url, request, book)
    if (end === 'answered' || end === 'spent') request = undefined
  }
}

type CallEnd = 'answered' | 'refused' | 'spent' | 'unknown'

async function callOnce(url: string, { path, headers }: LaneRequest, book: ClientBook): Promise<CallEnd> {
  try {
    const response = await fetch(new URL(path, url), { headers })
    const text = await response.text()
    if (response.status === 200) {
      const callId = response.headers.get('khachapuri-call')
      assert(callId?.startsWith('0x'), 'every answer has a call id')
      book.answered.add(callId as Hex)
      return 'answered'
    }
    const code = parseProblem(JSON.parse(text))?.code ?? `status ${response.status}`
    book.refused.set(code, (book.refused.get(code) ?? 0) + 1)
    if (code === 'ledger_unavailable' || code === 'internal') book.unknown += 1
    return spentCodes.includes(code) ? 'spent' : 'refused'
  } catch {
    book.unknown += 1
    return 'unknown'
  }
}

/** A payment that was used up without an answer, and cost nothing; or is too old. */
const spentCodes = ['payment_used', 'payment_expired']
