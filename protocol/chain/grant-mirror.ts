import { type Address, type Hash, HttpRequestError, type PublicClient, TimeoutError, zeroAddress } from 'viem'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { raceSignal } from '../base/signal.ts'
import type { Credits } from '../credits.ts'
import { ProtocolError } from '../errors.ts'
import type { Grant } from '../grant.ts'
import { limits } from '../limits.ts'
import { reachChain } from './client.ts'
import { type CreditsEvent, readCreditsEvents } from './credits-events.ts'
import { type GrantEvent, readGrantEvents } from './grant-events.ts'
import { type Checkpoint, createMirrorState, type MirroredEvents } from './grant-mirror-state.ts'

/**
 * The grants and trial credits of one provider, as the escrow's events tell them up to the chain's `safe` block (`latest` where the chain
 * has no such tag). It answers at once and from memory, so no call waits for the chain; when the chain is down it goes
 * on with what it knew.
 */
export interface GrantMirror extends AsyncDisposable {
  /** @param signer - Left out for metered use. */
  grant(payer: Address, signer?: Address): Grant | undefined
  grants(): Iterable<Grant>
  /** What the provider gave a user; undefined where that is nothing. */
  credits(user: Address): Credits | undefined
  /** The last transaction that collected from a grant, open or not, as the chain says: to be proved by the transaction itself. */
  chargedBy(payer: Address, signer?: Address): Hash | undefined
  /** The same of a user's trial calls. */
  countedBy(user: Address): Hash | undefined
  status(): MirrorStatus
  /** Calls `listener` with each grant that changed, after all of a look are in. @returns what stops it. */
  onChange(listener: (change: GrantChange) => void): () => void
  /** Looks now. @throws ProtocolError `chain_unreachable` */
  refresh(signal: AbortSignal): Promise<void>
}

export interface MirrorStatus {
  /** Up to here, this block included. */
  readonly blockNumber: bigint
  /** Since when the chain has not answered; undefined while it does. Milliseconds since 1970. */
  readonly lostSinceMs: number | undefined
  /** For how long that is by a clock that nobody sets. */
  readonly lostForMs: number | undefined
}

export interface GrantChange {
  readonly kind: GrantEvent['kind'] | 'rolled_back'
  readonly payer: Address
  readonly signer: Address
  /** The grant now; undefined where it is closed. */
  readonly grant: Grant | undefined
}

export interface GrantMirrorDeps {
  readonly client: PublicClient
  readonly clock: Clock
  readonly log: Log
}

export interface GrantMirrorOptions {
  readonly escrow: Address
  readonly provider: Address
  /** The block of the escrow's deployment, or any before the provider's first grant. */
  readonly fromBlock: bigint
  readonly intervalMs: number
  /**
   * A head that has not moved for so long is as good as none: the server is stuck, whatever it answers. Left out where
   * blocks come only with transactions.
   */
  readonly headStillMsMax?: number
}

/**
 * @param signal - Of the start. Afterwards the mirror looks until it is disposed.
 * @throws ProtocolError `chain_unreachable` where even the first look fails
 */
export async function createGrantMirror(
  deps: GrantMirrorDeps,
  options: GrantMirrorOptions,
  signal: AbortSignal,
): Promise<GrantMirror> {
  const { client, clock, log } = deps
  const { escrow, provider, fromBlock, intervalMs, headStillMsMax = Number.POSITIVE_INFINITY } = options
  const closing = new AbortController()
  // Whoever waited for the start may go; a provider that was told to stop still settles, and looks for that.
  let stop = signal
  const state = createMirrorState()
  const listeners = new Set<(change: GrantChange) => void>()
  const blockTag = await chooseBlockTag(client, stop)
  let lost: { readonly sinceMs: number; readonly fromMs: number } | undefined
  /** When the last look that ended well began. Monotonic. */
  let seenMs = clock.monotonicMs()
  let movedMs = clock.monotonicMs()
  let looking: Promise<void> | undefined

  async function look(): Promise<void> {
    const head = await readBlock({ blockTag })
    const cursor = state.cursor()
    // A server that lags behind another one is no reason to forget; a real fork soon grows past the cursor.
    if (cursor && (head.number < cursor.number || head.hash === cursor.hash)) return assertMoving(head)
    movedMs = clock.monotonicMs()
    const common = await findCommonBlock()
    const events = await readEvents((common?.number ?? fromBlock - 1n) + 1n, head)
    // The chain may have changed between the questions; then the answers do not belong together.
    if ((await readBlock({ blockNumber: head.number })).hash !== head.hash) return
    // All of it or nothing: whoever asks meanwhile sees the state before.
    const changes = [...state.rewind(common), ...state.apply(events, head)]
    for (const { kind, payer, signer } of changes) {
      const change = { kind, payer, signer, grant: state.get(payer, signer) }
      for (const listener of listeners) listener(change)
    }
  }

  /** A server that is stuck at one block answers all questions, and is no chain. */
  function assertMoving({ number }: Checkpoint): void {
    if (clock.monotonicMs() - movedMs < headStillMsMax) return
    throw new ProtocolError('chain_unreachable', `The chain stands still at block ${number}.`, {
      hint: 'Look at the RPC server, or give the provider several.',
    })
  }

  const readBlock = (at: { blockTag: BlockTag } | { blockNumber: bigint }): Promise<Checkpoint> =>
    reachChain(client.getBlock(at), 'read a block', stop) as Promise<Checkpoint>

  /** The newest block that this mirror has looked at and that the chain still has. */
  async function findCommonBlock(): Promise<Checkpoint | undefined> {
    for (const checkpoint of state.checkpoints()) {
      const block = await readBlock({ blockNumber: checkpoint.number })
      if (block.hash === checkpoint.hash) return checkpoint
      log.warn('chain_reorganised', { blockNumber: checkpoint.number, was: checkpoint.hash, is: block.hash })
    }
    return undefined
  }

  async function readEvents(first: bigint, head: Checkpoint): Promise<MirroredEvents> {
    const grants: GrantEvent[] = []
    const credits: CreditsEvent[] = []
    const span = BigInt(limits.logRangeBlocksMax)
    for (let from = first; from <= head.number; from += span) {
      const toBlock = from + span - 1n < head.number ? from + span - 1n : head.number
      const range = { escrow, provider, fromBlock: from, toBlock }
      const reading = Promise.all([readGrantEvents(client, range), readCreditsEvents(client, range)])
      const [ofGrants, ofCredits] = await reachChain(reading, 'read grants', stop)
      grants.push(...ofGrants)
      credits.push(...ofCredits)
    }
    return { grants, credits }
  }

  /** A server that answers each question, and gives so much to ask that no look ever ends, tells nothing either. */
  function describeLoss(): Pick<MirrorStatus, 'lostSinceMs' | 'lostForMs'> {
    const nowMs = clock.monotonicMs()
    if (lost) return { lostSinceMs: lost.sinceMs, lostForMs: nowMs - lost.fromMs }
    const silentMs = nowMs - seenMs
    if (silentMs <= intervalMs + limits.mirrorLookMsMax)
      return { lostSinceMs: undefined, lostForMs: undefined }
    return { lostSinceMs: clock.nowMs() - silentMs, lostForMs: silentMs }
  }

  /** One look at a time; who comes while one is under way shares it. */
  function lookOnce(): Promise<void> {
    const beganMs = clock.monotonicMs()
    looking ??= look()
      .then(
        () => {
          if (lost) log.info('chain_found', { lostForMs: clock.monotonicMs() - lost.fromMs })
          lost = undefined
          seenMs = beganMs
        },
        (error: unknown) => {
          if (!lost && !stop.aborted) log.warn('chain_lost', { error: String(error) })
          lost ??= { sinceMs: clock.nowMs(), fromMs: clock.monotonicMs() }
          throw error
        },
      )
      .finally(() => {
        looking = undefined
      })
    return looking
  }

  async function keepLooking(): Promise<void> {
    while (!stop.aborted) {
      await clock.sleep(intervalMs, stop).catch(() => undefined)
      // Logged and counted in `status`; the next look is the retry.
      if (!stop.aborted) await lookOnce().catch(() => undefined)
    }
  }

  await lookOnce()
  stop = closing.signal
  const kept = keepLooking()

  return {
    grant: (payer, signer = zeroAddress) => state.get(payer, signer),
    grants: () => state.all(),
    credits: (user) => state.credits(user),
    chargedBy: (payer, signer = zeroAddress) => state.chargedBy(payer, signer),
    countedBy: (user) => state.countedBy(user),
    status: () => ({ blockNumber: state.cursor()?.number ?? fromBlock, ...describeLoss() }),
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    refresh: (refreshSignal) => raceSignal(lookOnce(), refreshSignal),
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('The mirror is closed.'))
      await kept
    },
  }
}

type BlockTag = 'safe' | 'latest'

/** Deposits count from the `safe` block; a chain that does not know the tag says so, which is not silence. */
async function chooseBlockTag(client: PublicClient, signal: AbortSignal): Promise<BlockTag> {
  const isSafe = await reachChain(
    client.getBlock({ blockTag: 'safe' }).then(
      () => true,
      (error: unknown) => {
        if (isSilence(error)) throw error
        return false
      },
    ),
    'read the safe block',
    signal,
  )
  return isSafe ? 'safe' : 'latest'
}

function isSilence(error: unknown): boolean {
  for (let part = error; part instanceof Error; part = part.cause) {
    if (part instanceof HttpRequestError || part instanceof TimeoutError) return true
  }
  return false
}
