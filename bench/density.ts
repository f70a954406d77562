import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { getAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../protocol/base/clock.ts'
import { createTestLog } from '../protocol/base/log.ts'
import { type DeploymentDraft, formatDeployment, signDeployment } from '../protocol/deployment.ts'
import { createContentSource } from '../protocol/ipfs/fetch-content.ts'
import { storeFile } from '../protocol/ipfs/import-file.ts'
import { openBlockstore } from '../protocol/ipfs/open-blockstore.ts'
import { packZip } from '../protocol/ipfs/pack-zip.ts'
import { resolveLimits } from '../protocol/program-limits.ts'
import { openAttester } from '../provider/attest/attester.ts'
import { createDeployments } from '../provider/deployments/deployments.ts'
import { openProgramLog } from '../provider/logs/program-log.ts'
import { openPrograms } from '../provider/open-programs.ts'
import { collectAnswer } from '../provider/runtime/collect-answer.ts'
import type { Instance } from '../provider/runtime/runtime.ts'
import type { BenchContext, Measurement } from './measurement.ts'
import { median, quantile } from './median.ts'
import { findBusiestMiB, readDescendants, sumMiB } from './memory-use.ts'

const deployedCount = 1_000
const warmCount = 100
/** Of the busy program, where its memory is measured. */
const busyCallers = 32
/** Until nothing of what was started is still under way. */
const settleMs = 1_500

/** How many programs fit, and what a program notices of all the others that do nothing. */
export const density: Measurement = {
  name: 'density',
  title: 'Many programs on one provider',
  async run({ seconds, dir, note }: BenchContext, signal: AbortSignal) {
    await using world = await openWorld(join(dir, 'density'), signal)
    const busy = await world.deploy()
    const callBusy = async () => call(await world.acquire(busy))
    // The code of both ends is compiled before anything is measured.
    await callFor(callBusy, { seconds: seconds / 2, callers: 1 }, signal)
    const before = await callFor(callBusy, { seconds, callers: 1 }, signal)

    note(`${deployedCount} deployments are made and verified`)
    const cids = [busy]
    while (cids.length < deployedCount) cids.push(await world.deploy())
    const oneMiB = sumMiB(await settled(signal))
    note(`${warmCount} programs are started`)
    const idle: Instance[] = []
    for (const cid of cids.slice(1, warmCount)) {
      const instance = await world.acquire(cid)
      await call(instance)
      idle.push(instance)
    }
    const manyMiB = sumMiB(await settled(signal))
    const idleMiB = (manyMiB - oneMiB) / idle.length
    const among = await callFor(callBusy, { seconds: 2 * seconds, callers: 1 }, signal)

    const load = await callFor(callBusy, { seconds, callers: busyCallers }, signal)
    const busyMiB = findBusiestMiB(await settled(signal))
    const cgroupMiB = (instance: Instance) => (instance.usage().memoryBytes ?? Number.NaN) / 2 ** 20
    const [idleCgroupMiB, busyCgroupMiB] = [median(idle.map(cgroupMiB)), cgroupMiB(await world.acquire(busy))]

    world.endAll()
    await callFor(callBusy, { seconds: seconds / 2, callers: 1 }, signal)
    const alone = [...before, ...(await callFor(callBusy, { seconds, callers: 1 }, signal))]
    return {
      tables: [
        {
          caption: 'Memory',
          columns: ['', 'MiB', 'MiB by its cgroup'],
          rows: [
            ['an idle program, after one answer', idleMiB, idleCgroupMiB],
            [`a busy hello, after ${load.length} calls by ${busyCallers} callers`, busyMiB, busyCgroupMiB],
            ['warm programs per GiB', 1024 / idleMiB, 1024 / idleCgroupMiB],
          ],
        },
        {
          caption: 'One busy program',
          columns: ['', 'calls', 'p50 ms', '× alone', 'p99 ms', '× alone'],
          rows: [
            formatTimes('alone', alone, alone),
            formatTimes(`among ${warmCount} warm, ${deployedCount} deployed`, among, alone),
          ],
        },
      ],
      remarks: [
        'MiB are proportional (PSS): pages that all share, as workerd’s code, are counted once. An idle program’s are what all processes of the provider’s programs have more with one more: workerd, and bubblewrap beside it.',
        'One call after the other, by the deployments and the warm programs of a provider, without its listener and payment. Alone is measured before and after.',
      ],
    }
  },
}

/** What of a provider finds and runs programs, with a store on the disk. */
async function openWorld(dir: string, signal: AbortSignal) {
  await using starting = new AsyncDisposableStack()
  const base = { clock: systemClock, log: createTestLog() }
  const owner = privateKeyToAccount(generatePrivateKey())
  const market = { chainId: 31_337, escrow: getAddress(`0x${randomBytes(20).toString('hex')}`) }
  const provider = privateKeyToAccount(generatePrivateKey()).address
  const programLog = starting.use(openProgramLog(base, dir))
  const attester = starting.use(await openAttester(base, join(dir, 'keys')))
  const options = { chainId: market.chainId, owner: provider, limitsOf: () => resolveLimits({}) }
  const programs = starting.use(
    await openPrograms(
      { ...base, programLog, attester },
      { ...options, capacityMiB: Number.POSITIVE_INFINITY },
      signal,
    ),
  )
  const blockstore = await openBlockstore(join(dir, 'blocks'))
  const { fetchFile } = createContentSource({ ...base, blockstore, sources: [] })
  const deployments = createDeployments(
    { fetchFile, keep: async () => undefined },
    {
      ...{ market, provider, sealKeys: new Map(), runtimes: programs.kinds, assertCid: () => undefined },
      ...{ assertTakes: programs.assertTakes, mayRun: programs.mayRun, allowsEgress: programs.allowsEgress },
    },
  )
  const source = await readFile(join(import.meta.dirname, 'programs', 'hello', 'src', 'index.js'))
  const program = await storeFile(blockstore, packZip([{ path: 'index.js', bytes: source }]), signal)
  const parts = starting.move()
  let made = 0
  return {
    /** Signs, stores, reads and verifies one more deployment. @returns its CID */
    async deploy(): Promise<string> {
      const draft: DeploymentDraft = {
        ...{ version: 1, ...market, program: program.toString(), runtime: 'js', entry: 'index.js' },
        ...{
          params: { number: ++made },
          env: {},
          limits: { timeoutMs: 5_000, memoryMiB: 64, egress: 'none' },
        },
        ...{
          providers: [provider],
          payer: 'any',
          terms: null,
          owner: owner.address,
          createdAt: 1_800_000_000,
        },
        policy: { ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: null }, origins: 'any' },
      }
      const spec = formatDeployment(await signDeployment(draft, owner))
      const cid = (await storeFile(blockstore, spec, signal)).toString()
      await deployments.read(cid, signal)
      return cid
    },
    async acquire(cid: string): Promise<Instance> {
      const deployment = deployments.peek(cid) ?? (await deployments.read(cid, signal))
      return programs.acquire(deployment, (s) => deployments.readProgram(deployment, s), signal)
    },
    endAll: () => programs.endAll('the round is over'),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

async function settled(signal: AbortSignal) {
  await systemClock.sleep(settleMs, signal)
  return readDescendants(process.pid)
}

async function call(instance: Instance): Promise<void> {
  const { outcome } = await collectAnswer(instance, {
    method: 'GET',
    target: '/',
    rawHeaders: ['host', 'bench'],
  })
  if (outcome.kind !== 'answered') throw new Error(`a call ended as ${outcome.kind}`)
}

/** @returns how long each call took, in milliseconds */
async function callFor(
  callOnce: () => Promise<void>,
  { seconds, callers }: { readonly seconds: number; readonly callers: number },
  signal: AbortSignal,
): Promise<number[]> {
  const timesMs: number[] = []
  const endMs = performance.now() + seconds * 1_000
  const callUntilEnd = async () => {
    for (let startMs = performance.now(); startMs < endMs; startMs = performance.now()) {
      signal.throwIfAborted()
      await callOnce()
      timesMs.push(performance.now() - startMs)
    }
  }
  await Promise.all(Array.from({ length: callers }, callUntilEnd))
  return timesMs
}

function formatTimes(name: string, timesMs: readonly number[], aloneMs: readonly number[]) {
  const [p50, p99] = [median(timesMs), quantile(timesMs, 0.99)]
  return [name, timesMs.length, p50, p50 / median(aloneMs), p99, p99 / quantile(aloneMs, 0.99)]
}
