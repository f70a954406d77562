import type { Blockstore } from 'interface-blockstore'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { type ErrorCode, isProtocolError, ProtocolError, toProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { blockMismatch, blockNotFound, type ReadBlock } from './block.ts'
import type { CID } from './cid.ts'
import { type FetchOptions, fetchFromKeeper } from './http-source.ts'
import { AllAttemptsFailed, raceInTurn } from './race-in-turn.ts'
import { readVerifiedFile } from './read-file.ts'
import { createSingleFlight } from './single-flight.ts'
import { dagBudget, walkDag } from './walk.ts'

export interface ContentSource {
  /**
   * The bytes of a file, wherever they are: in the local store, at a keeper, at a peer; verified, and kept in the store.
   * Callers who ask for the same at once share one fetch and one array, which they must not change.
   *
   * @throws ProtocolError `cid_not_found` where every source answered that it has none, `content_unreachable` where some
   *   did not answer, `cid_mismatch` where some lied or the local store is damaged, `content_too_large`,
   *   `program_invalid` for what is no file, `provider_busy`
   */
  fetchFile(cid: CID, options: { readonly bytesMax: number }, signal: AbortSignal): Promise<Uint8Array>
}

export interface ContentSourceDeps {
  readonly blockstore: Pick<Blockstore, 'get' | 'put'>
  /** Origins of keepers, the best first; the function is asked before every fetch. */
  readonly sources: readonly URL[] | (() => readonly URL[])
  /** Asked after the keepers, such as a Helia node. */
  readonly peers?: { readonly readBlock: ReadBlock }
  readonly clock: Clock
  readonly log: Log
}

export function createContentSource(deps: ContentSourceDeps): ContentSource {
  const flights = createSingleFlight<Uint8Array>()
  const atKeepers = createPlaces(limits.contentFetchesMax)
  const atPeers = createPlaces(limits.contentPeerFetchesMax)
  const findFile = async (cid: CID, bytesMax: number, signal: AbortSignal): Promise<Uint8Array> => {
    const local = await readLocal(deps, cid, { bytesMax }, signal)
    if (local.bytes) return local.bytes
    using place = atKeepers.take()
    if (!place) throw busy()
    await fetchAnywhere(deps, { cid, bytesMax, isDamaged: local.isDamaged }, { place, atPeers }, signal)
    return readVerifiedFile(deps.blockstore, cid, { bytesMax }, signal)
  }
  return {
    fetchFile: (cid, { bytesMax }, signal) =>
      flights.join(`${cid} ${bytesMax}`, (s) => findFile(cid, bytesMax, s), signal),
  }
}

/** A damaged block is fetched again like a missing one, but nobody is told that it does not exist. */
async function readLocal(
  { blockstore, log }: ContentSourceDeps,
  cid: CID,
  { bytesMax }: { bytesMax: number },
  signal: AbortSignal,
): Promise<{ bytes?: Uint8Array; isDamaged: boolean }> {
  try {
    return { bytes: await readVerifiedFile(blockstore, cid, { bytesMax }, signal), isDamaged: false }
  } catch (error) {
    if (!isProtocolError(error)) throw error
    if (error.code === 'cid_not_found') return { isDamaged: false }
    if (error.code !== 'cid_mismatch') throw error
    log.warn('stored_block_damaged', { cid: cid.toString(), ...error.details })
    return { isDamaged: true }
  }
}

interface Wanted {
  readonly cid: CID
  readonly bytesMax: number
  readonly isDamaged: boolean
}

/** Peers are waited for in vain by everybody who makes up a CID, so that wait must not take a place at the keepers. */
interface FetchPlaces {
  readonly place: Disposable
  readonly atPeers: Places
}

async function fetchAnywhere(
  deps: ContentSourceDeps,
  wanted: Wanted,
  { place, atPeers }: FetchPlaces,
  signal: AbortSignal,
): Promise<void> {
  const { cid, bytesMax } = wanted
  const keepers = (typeof deps.sources === 'function' ? deps.sources() : deps.sources).slice(0, sourcesMax)
  const { blockstore, failure } = watchPuts(deps.blockstore)
  const options: FetchOptions = { cid, blockstore, budget: dagBudget(bytesMax) }
  let keepersLeft = keepers.length
  const attempts = keepers.map((url) => async (s: AbortSignal) => {
    try {
      await fetchFromKeeper(url, options, s)
    } finally {
      keepersLeft -= 1
      if (keepersLeft === 0) place[Symbol.dispose]()
    }
  })
  const { peers } = deps
  if (peers) attempts.push((s) => fetchFromPeers(peers, { options, atPeers }, s))
  const names = [...keepers.map((url) => url.host), 'peers']
  const deadline = AbortSignal.timeout(limits.contentFetchTimeoutMs)
  try {
    const race = { clock: deps.clock, delayMs: limits.contentRaceDelayMs }
    await raceInTurn(attempts, race, AbortSignal.any([signal, deadline]))
  } catch (error) {
    signal.throwIfAborted()
    // A full disk is our failure, not the sources'.
    if (failure.cause) throw failure.cause
    const failures =
      error instanceof AllAttemptsFailed ? error.failures.map((f) => toSourceError(cid, f)) : []
    if (failures.length === 0 && deadline.aborted) failures.push(toSourceError(cid, error))
    const refusal = summarise(wanted, { failures, names })
    deps.log.warn('content_not_found', {
      cid: cid.toString(),
      code: refusal.code,
      sources: refusal.details['sources'],
    })
    throw refusal
  }
}

const sourcesMax = 16

/**
 * Peers that lack a block say nothing, so silence counts as a no: soon for the root, which a peer that is there gives at
 * once; later for what comes below it, as somebody has the content then.
 */
async function fetchFromPeers(
  { readBlock }: { readBlock: ReadBlock },
  { options: { cid, blockstore, budget }, atPeers }: { options: FetchOptions; atPeers: Places },
  signal: AbortSignal,
): Promise<void> {
  using place = atPeers.take()
  if (!place) throw tooManyAtPeers(cid)
  const readInTime: ReadBlock = async (wanted, readSignal) => {
    const isRoot = wanted === cid
    const silence = AbortSignal.timeout(isRoot ? limits.contentPeerTimeoutMs : limits.contentStallTimeoutMs)
    try {
      return await readBlock(wanted, AbortSignal.any([readSignal, silence]))
    } catch (cause) {
      readSignal.throwIfAborted()
      throw silence.aborted ? blockNotFound(wanted, cause) : cause
    }
  }
  for await (const block of walkDag(readInTime, cid, budget, signal))
    await blockstore.put(block.cid, block.bytes)
}

/** Room for so many at a time. */
interface Places {
  /** A place until it is disposed of, which may be twice; undefined where there is none. */
  take(): Disposable | undefined
}

function createPlaces(max: number): Places {
  const taken = new Set<Disposable>()
  return {
    take() {
      if (taken.size >= max) return undefined
      const place: Disposable = { [Symbol.dispose]: () => void taken.delete(place) }
      taken.add(place)
      return place
    },
  }
}

/** Remembers what the store itself threw. */
function watchPuts(blockstore: Pick<Blockstore, 'put'>) {
  const failure: { cause?: unknown } = {}
  const put: Blockstore['put'] = async (cid, bytes) => {
    try {
      return await blockstore.put(cid, bytes)
    } catch (cause) {
      failure.cause = cause
      throw cause
    }
  }
  return { failure, blockstore: { put } }
}

/** What one source did, as a code that the summary knows. */
function toSourceError(cid: CID, thrown: unknown): ProtocolError {
  const error = toProtocolError(thrown)
  if (error.code !== 'internal' && error.code !== 'call_timeout') return error
  return new ProtocolError('content_unreachable', `A source of ${cid} did not answer in time.`, {
    hint: 'Ask again later.',
    cause: thrown,
  })
}

/** The worst that any source did, in this order: what verified bytes prove comes before what sources claim. */
const byWeight: readonly ErrorCode[] = [
  'program_invalid',
  'content_too_large',
  'cid_mismatch',
  'content_unreachable',
  'cid_not_found',
]

function summarise(
  { cid, isDamaged }: Wanted,
  { failures, names }: { failures: readonly ProtocolError[]; names: readonly string[] },
): ProtocolError {
  const sources = failures.map(({ code, message }, i) => ({
    source: names[i],
    code,
    detail: message.slice(0, 200),
  }))
  const details = { cid: cid.toString(), sources }
  const local = isDamaged ? [blockMismatch(cid, 'The local store')] : []
  const all = [...failures, ...local]
  const code =
    byWeight.find((candidate) => all.some((failure) => failure.code === candidate)) ?? 'cid_not_found'
  const first = all.find((failure) => failure.code === code)
  const message = first?.message ?? `Nobody who was asked has ${cid}.`
  const hint = first?.hint ?? 'Check the CID, or upload the content to a keeper again.'
  return new ProtocolError(code, message, { hint, details, cause: first })
}

function busy(): ProtocolError {
  return new ProtocolError('provider_busy', `More than ${limits.contentFetchesMax} fetches run already.`, {
    hint: 'Send it again in a moment.',
  })
}

function tooManyAtPeers(cid: CID): ProtocolError {
  return new ProtocolError(
    'content_unreachable',
    `No peer was asked for ${cid}: too many others wait for some.`,
    {
      hint: 'Send it again in a moment, or upload the content to a keeper.',
    },
  )
}
