import { once } from 'node:events'
import { join } from 'node:path'
import { systemClock } from '../protocol/base/clock.ts'
import { createLog } from '../protocol/base/log.ts'
import { listen } from '../protocol/http/listen.ts'
import { limits } from '../protocol/limits.ts'
import type { Market } from '../protocol/typed-data.ts'
import { zeroUsdc } from '../protocol/usdc.ts'
import { createPlaces } from '../provider/admission/places.ts'
import { createUnpaidRuns } from '../provider/admission/unpaid-runs.ts'
import { openAttester } from '../provider/attest/attester.ts'
import { createBallots } from '../provider/ballots/ballots.ts'
import { serveReveal } from '../provider/ballots/serve-reveal.ts'
import { createDeployments } from '../provider/deployments/deployments.ts'
import { createBodyRoom } from '../provider/http/call-body.ts'
import { createCallIds } from '../provider/http/call-ids.ts'
import { type CallDeps, runCall } from '../provider/http/run-call.ts'
import { createFront } from '../provider/http/serve.ts'
import { openProgramLog } from '../provider/logs/program-log.ts'
import { createProviderMetrics } from '../provider/metrics.ts'
import { openContent } from '../provider/open-content.ts'
import { openPrograms } from '../provider/open-programs.ts'
import { openRules } from '../provider/policy/rules.ts'

/**
 * A provider with payment switched off, for the bench only: listener, deployments, sandbox and relay are the provider's
 * own, the call takes the same way through `runCall`, and only who pays is never asked: no grant, no reservation, no
 * charge, and the receipt is kept nowhere. `unpaid-process.ts <JSON of UnpaidOptions>` says its port when it is ready.
 */
export interface UnpaidOptions {
  readonly dir: string
  readonly market: Market
  /** For whom the deployments are. */
  readonly provider: `0x${string}`
  /** Where they are fetched. */
  readonly keeper: string
}

const { dir, market, provider, keeper } = JSON.parse(process.argv[2] ?? '') as UnpaidOptions
const stopping = new AbortController()
process.once('SIGTERM', () => stopping.abort())
const base = { clock: systemClock, log: createLog({ level: 'warn' }) }

await using parts = new AsyncDisposableStack()
const deps = { ...base, programLog: parts.use(openProgramLog(base, dir)) }
const attester = parts.use(await openAttester(base, join(dir, 'keys')))
const rules = parts.use(await openRules({ ...deps, onChange: () => undefined, peek: () => undefined }, dir))
const { capacity, limitsOf } = rules
const capacityMiB = capacity.memoryMiB
const programs = parts.use(
  await openPrograms(
    { ...deps, attester },
    { chainId: market.chainId, owner: provider, capacityMiB, limitsOf },
    stopping.signal,
  ),
)
const store = { dir, market, audience: () => keeper, keepers: [new URL(keeper)], peers: [], opensPort: false }
const content = parts.use(await openContent(deps, store, stopping.signal))
const deployments = createDeployments(content, {
  ...{ market, provider, sealKeys: new Map(), runtimes: programs.kinds },
  ...{
    assertTakes: programs.assertTakes,
    mayRun: programs.mayRun,
    allowsEgress: programs.allowsEgress,
    assertCid: rules.assertCid,
  },
})

const nothingCharged = { chargedUsdc: zeroUsdc, calls: 0 }
const free: CallDeps['ledger'] = {
  reserve: ({ callId, priceUsdc }) => ({
    kind: 'reserved',
    reservation: {
      ...{ callId, priceUsdc },
      charge: async () => ({ ...nothingCharged, signedReceipt: '' }),
      release: () => undefined,
      charged: () => nothingCharged,
      [Symbol.dispose]: () => undefined,
    },
  }),
  record: async () => '',
  signVote: () => Promise.reject(new Error('There is no key without a ledger.')),
  claimKey: () => Promise.reject(new Error('There are no keys without a ledger.')),
  vouchers: { find: () => undefined, accept: async () => undefined },
}

const ballots = createBallots({ ...deps, seedBlocks: { find: async () => undefined } }, { provider })
const callDeps: CallDeps = {
  ...deps,
  createCallId: createCallIds(deps),
  deployments,
  findPayer: async ({ deployment }) => ({ kind: 'owner', address: deployment.spec.owner }),
  grants: { grant: () => undefined, credits: () => undefined },
  // Nobody draws where there is no chain.
  ballots,
  ledger: free,
  instanceOf: (deployment, use, signal) =>
    programs.acquire(
      deployment,
      (loadSignal) => deployments.readProgram(deployment, loadSignal),
      signal,
      use,
    ),
  needsOf: programs.needsOf,
  x402: undefined,
  unpaidRuns: createUnpaidRuns(deps),
  rules,
  places: createPlaces(deps, { capacity }),
  metrics: createProviderMetrics({
    clock: deps.clock,
    settler: () => ({ unsettledUsdc: zeroUsdc, unsettledSinceMs: undefined, alarms: [], failures: 0 }),
    mirror: () => ({ blockNumber: 0n, lostSinceMs: undefined, lostForMs: undefined }),
    x402: () => undefined,
    tunnel: () => undefined,
    programsRunning: programs.count,
    programsResting: programs.resting,
    programRests: programs.rests,
  }),
  bodyRoom: createBodyRoom(limits.idempotentBodiesBytesMax),
  // Nothing that is measured is recorded.
  callRecords: { add: () => undefined },
  chainLostForMs: () => undefined,
}
const options = { provider, name: 'unpaid', market, priceUsdc: () => zeroUsdc, noticeHours: 0 }
const listener = parts.use(
  await listen({
    host: '127.0.0.1',
    port: 0,
    onRequest: createFront({
      log: deps.log,
      pages: content.routes,
      runCall: (call) => runCall(callDeps, options, call),
      reveal: (request, response) => serveReveal(ballots, request, response),
    }).onRequest,
  }),
)
console.log(JSON.stringify({ port: listener.port }))
if (!stopping.signal.aborted) await once(stopping.signal, 'abort')
