import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { assert } from '../../protocol/base/assert.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { readBalance, readGrant } from '../../protocol/chain/escrow.ts'
import { openRpcProxy } from '../support/rpc-proxy.ts'
import { walletOf } from '../support/x402.ts'
import { compareWithClients, readLedger } from './books.ts'
import { type CrashMarket, laneCount, openCrashMarket, priceUsdc } from './crash-market.ts'
import type { Gate } from './lanes.ts'
import { type ProviderRun, spawnProvider } from './provider-runs.ts'
import { createRandom, type Random } from './random.ts'
import { createTrouble, type RpcMood, type Trouble } from './trouble.ts'

export interface CrashOptions {
  readonly kills: number
  readonly seed: number
  /** Hears what happened, a line each time. */
  readonly onProgress: (line: string) => void
}

export interface CrashReport {
  readonly kills: number
  /** Of them, while the provider was not ready yet. */
  readonly killsAtStart: number
  /** Of the lives, those that ended by themselves, because the disk was full or the chain away. */
  readonly ownDeaths: number
  readonly reorganisations: number
  /** Whole answers, by how they were paid. */
  readonly answered: Readonly<Record<string, number>>
  /** What clients cannot know the end of. */
  readonly unknown: number
  readonly refused: Readonly<Record<string, number>>
  readonly earnedUsdc: bigint
}

const signal = new AbortController().signal

/**
 * Kills a provider under load, again and again, with a chain that reorganises, stalls and refuses, and a disk that is
 * full at times. After each death three books are compared: the disk's, the chain's, and what clients saw; at the end all
 * must be equal to the last unit.
 *
 * @throws InvariantError where they differ, with the seed and the number of the kill in its message
 */
export async function runCrashes({ kills, seed, onProgress }: CrashOptions): Promise<CrashReport> {
  await using parts = new AsyncDisposableStack()
  const random = createRandom(seed)
  const at = parts.use(await openCrashMarket())
  const trouble = createTrouble(at.client, random)
  const rpc = parts.use(await openRpcProxy(at.rpcUrl, trouble))
  const dir = join(at.dir, 'provider')
  mkdirSync(dir)
  const gate = createGate()
  const counts = { killsAtStart: 0, ownDeaths: 0, reorganisations: 0 }
  const orderOf = (port: number) => ({
    ...at.order,
    dir,
    rpcUrl: rpc.url.href,
    price: String(priceUsdc),
    port,
  })

  // The first life registers the name, which takes its time, and has the program fetched.
  let next = spawnProvider(undefined)
  parts.defer(() => next.kill())
  next.start(orderOf(0))
  const firstUrl = await next.ready
  assert(firstUrl !== undefined, `the provider starts: ${next.failure()}\n${next.output()}`)
  const port = Number(new URL(firstUrl).port)
  const deployed = await at.deploy()
  gate.open(firstUrl)
  const lanes = at.startLanes(gate, deployed)

  async function live(run: ProviderRun, isFirst: boolean): Promise<string> {
    const facts: string[] = []
    await trouble.mark()
    if (!isFirst) run.start(orderOf(port))
    if (!isFirst && random.chance(35)) {
      await Promise.race([systemClock.sleep(random.between(0, 1_200), signal), run.ended])
      facts.push('at its start')
      counts.killsAtStart += 1
      run.kill()
    } else {
      const url = await run.ready
      if (url !== undefined) gate.open(url)
      else facts.push(`did not start: ${run.failure() ?? 'silently'}`)
      facts.push(...(await serveAwhile(trouble, random, run)))
    }
    if (random.chance(25)) {
      await trouble.reorganise()
      facts.push('reorganised')
      counts.reorganisations += 1
    }
    run.kill()
    gate.close()
    const end = await run.ended
    if (end !== 'SIGKILL') counts.ownDeaths += 1
    await gate.whenAllWait(laneCount)
    return [...facts, `ended with ${end}`].join(', ')
  }

  for (let kill = 1; kill <= kills; kill += 1) {
    const current = next
    const isFull = random.chance(15)
    next = spawnProvider(isFull ? largestFileKiB(join(dir, 'ledger')) + random.between(4, 120) : undefined)
    try {
      const facts = await live(current, kill === 1)
      trouble.setMood('well')
      await compare(at, dir)
      onProgress(`${kill}/${kills} ${facts}${isFull ? '; next with a full disk' : ''}`)
    } catch (error) {
      throw new Error(`Seed ${seed}, kill ${kill}: ${String(error)}\n${current.output().slice(-4_000)}`, {
        cause: error,
      })
    }
  }

  next.kill()
  await next.ended
  next = spawnProvider(undefined)
  next.start(orderOf(port))
  const lastUrl = await next.ready
  assert(lastUrl !== undefined, `the provider starts once more: ${next.failure()}\n${next.output()}`)
  gate.open(lastUrl)
  gate.end()
  onProgress('The last life: every call is answered …')
  await lanes
  onProgress('… every payment is taken …')
  await at.x402Settled()
  onProgress('… and the provider stops, and settles')
  next.stop()
  assert((await next.ended) === 0, `the provider ends in good order: ${next.output().slice(-2_000)}`)
  const earnedUsdc = await compareToTheLastUnit(at, dir).catch((error: unknown) => {
    throw new Error(`Seed ${seed}, at the end: ${String(error)}\n${next.output()}`, { cause: error })
  })
  return { kills, ...counts, ...at.summary(), earnedUsdc }
}

/** Some of the time the chain is in a mood meanwhile. */
async function serveAwhile(trouble: Trouble, random: Random, run: ProviderRun): Promise<string[]> {
  const mood: RpcMood = random.chance(40) ? random.pick(['refusing', 'stalling', 'flaky'] as const) : 'well'
  const pause = (msMax: number) =>
    Promise.race([systemClock.sleep(random.between(10, msMax), signal), run.ended])
  await pause(400)
  if (mood === 'well') return []
  trouble.setMood(mood)
  await pause(400)
  // In some lives it recovers, in others the end comes first.
  if (random.chance(50)) {
    trouble.setMood('well')
    await pause(200)
  }
  return [mood]
}

interface HarnessGate extends Gate {
  open(url: string): void
  close(): void
  /** Resolves when so many lanes stand before the closed gate: what clients know is complete then. */
  whenAllWait(lanes: number): Promise<void>
  end(): void
}

/** Where lanes learn the provider's address, and wait while there is none. */
function createGate(): HarnessGate {
  let current = Promise.withResolvers<string>()
  let waiting = 0
  let isOpen = false
  let isEnding = false
  const watchers = new Set<() => void>()
  return {
    async pass(isBusy) {
      if (isEnding && !isBusy) return undefined
      waiting += 1
      for (const watcher of watchers) watcher()
      return current.promise.finally(() => {
        waiting -= 1
      })
    },
    open(url) {
      isOpen = true
      current.resolve(url)
    },
    close() {
      // Who waits already goes on waiting at the same one.
      if (isOpen) current = Promise.withResolvers()
      isOpen = false
    },
    async whenAllWait(lanes) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const look = () => waiting === lanes && resolve()
      watchers.add(look)
      look()
      await promise
      watchers.delete(look)
    },
    end() {
      isEnding = true
    },
  }
}

function largestFileKiB(dir: string): number {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const sizes = files.map(
    ({ parentPath, name }) => statSync(join(parentPath, name), { throwIfNoEntry: false })?.size ?? 0,
  )
  return Math.ceil(Math.max(0, ...sizes) / 1024)
}

interface Totals {
  readonly chargedUsdc: bigint
  readonly spentUsdc: bigint
}

/** The disk against clients, and the chain against the disk: nobody has paid more than was charged. */
async function compare(at: CrashMarket, dir: string): Promise<ReadonlyMap<string, Totals>> {
  const ledger = readLedger(join(dir, 'ledger'))
  compareWithClients(ledger, at.books)
  const totals = new Map<string, Totals>()
  // All of one block: what the dead provider sent may still be on its way to the chain.
  const blockNumber = await at.client.getBlockNumber({ cacheTime: 0 })
  for (const { way, payer, signer } of at.granted) {
    const key = { payer, provider: at.provider, signer, blockNumber }
    const grant = await readGrant(at.client, at.escrow, key, signal)
    const spentUsdc = grant?.spentUsdc ?? 0n
    const chargedUsdc = ledger.get(payer)?.chargedUsdc ?? 0n
    assert(spentUsdc <= chargedUsdc, `${way} has paid ${spentUsdc} and was charged ${chargedUsdc}`)
    totals.set(way, { chargedUsdc, spentUsdc })
  }
  const trialsCounted = await readTrialsCounted(at, blockNumber)
  const trialsMade = ledger.get(at.trial.payer)?.calls ?? 0
  assert(trialsCounted <= trialsMade, `${trialsCounted} trial calls are counted, ${trialsMade} were made`)
  const earned = await readBalance(
    at.client,
    { escrow: at.escrow, account: at.provider, blockNumber },
    signal,
  )
  const paid = [...totals.values()].reduce((sum, { spentUsdc }) => sum + spentUsdc, 0n)
  assert(earned === paid, `the provider has earned ${earned}, its payers have paid ${paid}`)
  return totals
}

async function readTrialsCounted(at: CrashMarket, blockNumber: bigint): Promise<number> {
  const { used } = await at.client.readContract({
    address: at.escrow,
    abi: escrowAbi,
    functionName: 'creditsOf',
    args: [at.provider, at.trial.payer],
    blockNumber,
  })
  return Number(used)
}

async function compareToTheLastUnit(at: CrashMarket, dir: string): Promise<bigint> {
  const totals = await compare(at, dir)
  for (const [way, { chargedUsdc, spentUsdc }] of totals) {
    assert(spentUsdc === chargedUsdc, `${way} was charged ${chargedUsdc} and has paid ${spentUsdc}`)
  }
  const ledger = readLedger(join(dir, 'ledger'))
  for (const book of at.repeating) {
    const priced = ledger.get(book.payer)?.priced.size ?? 0
    assert(
      priced === book.answered.size,
      `${book.way}: ${book.answered.size} calls were made, ${priced} charged`,
    )
  }
  const trialsMade = ledger.get(at.trial.payer)?.calls
  const trialsCounted = await readTrialsCounted(at, await at.client.getBlockNumber({ cacheTime: 0 }))
  assert(trialsMade === trialsCounted, `${trialsMade} trial calls were made, ${trialsCounted} are counted`)
  const { payer, depositedUsdc } = at.wallet
  const left = await walletOf(at, payer)
  const paidByWallet = BigInt(ledger.get(payer)?.priced.size ?? 0) * priceUsdc
  assert(depositedUsdc - left === paidByWallet, `the wallet paid ${depositedUsdc - left} of ${paidByWallet}`)
  return [...totals.values()].reduce((sum, { spentUsdc }) => sum + spentUsdc, paidByWallet)
}
