import type { Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { type NamedDeployment, parseNamedDeployment } from '../../protocol/ipfs/named-deployment.ts'
import { limits } from '../../protocol/limits.ts'
import {
  type Name,
  type NameChange,
  type NameReader,
  nameNode,
  type ProviderName,
} from '../../protocol/name.ts'

/** What a name is: that of a provider, or that of a deployment. */
export type KnownName = ProviderName | NamedDeployment

/** What is known of a name. */
export type NameAnswer =
  | {
      readonly kind: 'known'
      readonly record: KnownName
      /** Milliseconds since it was read, where reading it again failed; else undefined. */
      readonly staleMs: number | undefined
    }
  | { readonly kind: 'unknown' }
  /** The name's records are none. */
  | { readonly kind: 'refused'; readonly error: ProtocolError }

export interface NameCache extends AsyncDisposable {
  /** The answer where there is one, at once; whatever is old is read again in the background. */
  peek(name: Name): NameAnswer | undefined
  /**
   * The answer, from the chain where need be; many who ask at once share one reading.
   *
   * @throws `chain_unreachable` where the name was never read and cannot be now.
   */
  resolve(name: Name, signal: AbortSignal): Promise<NameAnswer>
  /** As `resolve`, but asks the chain, where it answers, however fresh the last answer is. */
  refresh(name: Name, signal: AbortSignal): Promise<NameAnswer>
  /** Every provider that is known now, under each of its names. */
  known(): ProviderName[]
}

export interface NameCacheOptions {
  /** A name that was known is another account's now, or nobody's. */
  readonly onAccountChanged?: (before: ProviderName) => void
  readonly ageMsMax?: number
  /** For names that nobody owns, and between two tries while the chain cannot be reached. */
  readonly negativeAgeMsMax?: number
  readonly namesMax?: number
}

type Fact =
  | { kind: 'known'; record: KnownName }
  | { kind: 'unknown' }
  | { kind: 'refused'; error: ProtocolError }

interface Entry {
  readonly node: Hex
  readonly fact: Fact
  readonly readAtMs: number
  /** When it is read again, if anybody asks. */
  refreshAtMs: number
  isReadingFailing: boolean
}

const unknownAnswer: NameAnswer = { kind: 'unknown' }

/** An answer older than this many times its age is waited for rather than given and renewed. */
const staleFactor = 10

/** Names as they were last read: one reading per name and `ageMsMax`, however many ask. */
export function createNameCache(
  { clock, log, reader }: { clock: Clock; log: Log; reader: NameReader },
  options: NameCacheOptions = {},
): NameCache {
  const ageMsMax = options.ageMsMax ?? limits.nameAgeMsMax
  const negativeAgeMsMax = options.negativeAgeMsMax ?? limits.nameNegativeAgeMsMax
  const namesMax = options.namesMax ?? limits.namesCachedMax
  // Apart, so that made-up names cannot push real ones out.
  const owned = new Map<Name, Entry>()
  const unowned = new Map<Name, Entry>()
  const reading = new Map<Name, Promise<Entry>>()
  /** Names whose reading began before something changed: it may find what was before. */
  const changedMeanwhile = new Set<Name>()
  const closing = new AbortController()
  const watch = reader.watchNames(refreshChanged)

  function peek(name: Name): NameAnswer | undefined {
    const nowMs = clock.monotonicMs()
    const entry = owned.get(name)
    if (!entry) {
      const negative = unowned.get(name)
      return negative && negative.refreshAtMs > nowMs ? unknownAnswer : undefined
    }
    if (!entry.isReadingFailing && nowMs - entry.readAtMs > ageMsMax * staleFactor) return undefined
    if (entry.refreshAtMs <= nowMs) readInBackground(name)
    return toAnswer(entry)
  }

  function toAnswer({ fact, readAtMs, isReadingFailing }: Entry): NameAnswer {
    if (fact.kind !== 'known') return fact
    return { ...fact, staleMs: isReadingFailing ? clock.monotonicMs() - readAtMs : undefined }
  }

  /** Failing leaves the last known answer, marked as such. */
  function readInBackground(name: Name): void {
    read(name).catch(() => undefined)
  }

  function read(name: Name): Promise<Entry> {
    const current = reading.get(name)
    if (current) return current
    if (reading.size >= limits.nameReadsMax) return Promise.reject(tooManyReads())
    const next = readOnce(name).finally(() => {
      reading.delete(name)
      if (changedMeanwhile.delete(name)) readInBackground(name)
    })
    reading.set(name, next)
    return next
  }

  async function readOnce(name: Name): Promise<Entry> {
    try {
      const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(limits.rpcTimeoutMs)])
      const record = await raceSignal(reader.readName(name, signal), signal)
      if (!record) return keep(name, { kind: 'unknown' })
      const known = record.kind === 'deployment' ? parseNamedDeployment(record) : record
      return keep(name, { kind: 'known', record: known })
    } catch (error) {
      if (isProtocolError(error) && error.code !== 'chain_unreachable') {
        return keep(name, { kind: 'refused', error })
      }
      return failed(name, error)
    }
  }

  function keep(name: Name, fact: Fact): Entry {
    const readAtMs = clock.monotonicMs()
    const ageMs = fact.kind === 'known' ? ageMsMax : negativeAgeMsMax
    const node = nameNode(name)
    const entry: Entry = { node, fact, readAtMs, refreshAtMs: readAtMs + ageMs, isReadingFailing: false }
    const before = owned.get(name)?.fact
    owned.delete(name)
    unowned.delete(name)
    const kept = fact.kind === 'unknown' ? unowned : owned
    kept.set(name, entry)
    for (const oldest of kept.keys()) {
      if (kept.size <= namesMax) break
      kept.delete(oldest)
    }
    const provider = before && providerOf(before)
    if (provider && !isSameAccount(provider, fact)) options.onAccountChanged?.(provider)
    return entry
  }

  function failed(name: Name, cause: unknown): Entry {
    const last = owned.get(name)
    if (!closing.signal.aborted) {
      log.warn('name_read_failed', { name, isKnown: last !== undefined, error: String(cause) })
    }
    if (!last) throw unreachableChain(cause)
    last.isReadingFailing = true
    last.refreshAtMs = clock.monotonicMs() + negativeAgeMsMax
    return last
  }

  function refreshChanged(change: NameChange): void {
    for (const name of reading.keys()) {
      // Which resolver a name has that is being read is not known yet.
      if (change.kind === 'resolver' || nameNode(name) === change.node) changedMeanwhile.add(name)
    }
    for (const [name, { node }] of unowned) {
      if (change.kind === 'name' && node === change.node) unowned.delete(name)
    }
    for (const [name, entry] of owned) {
      if (isOf(change, entry) && !reading.has(name)) readInBackground(name)
    }
  }

  return {
    peek,
    async resolve(name, signal) {
      const answer = peek(name)
      if (answer) return answer
      return toAnswer(await raceSignal(read(name), signal))
    },
    refresh: async (name, signal) => toAnswer(await raceSignal(read(name), signal)),
    known: () => [...owned.values()].flatMap(({ fact }) => providerOf(fact) ?? []),
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('The gateway is closing.'))
      await watch[Symbol.asyncDispose]()
      await Promise.allSettled(reading.values())
    },
  }
}

function isOf(change: NameChange, { node, fact }: Entry): boolean {
  if (change.kind === 'name') return node === change.node
  return fact.kind === 'known' && fact.record.resolver === change.resolver
}

function providerOf(fact: Fact): ProviderName | undefined {
  return fact.kind === 'known' && fact.record.kind === 'provider' ? fact.record : undefined
}

function isSameAccount({ address }: ProviderName, now: Fact): boolean {
  return providerOf(now)?.address === address
}

function unreachableChain(cause: unknown): ProtocolError {
  if (isProtocolError(cause)) return cause
  return new ProtocolError('chain_unreachable', 'The chain that knows this name does not answer.', {
    hint: 'Send it again later. Names that were called before go on working.',
    cause,
  })
}

function tooManyReads(): ProtocolError {
  return new ProtocolError('too_many_requests', 'Too many names are being looked up.', {
    hint: 'Send it again a little later.',
  })
}
