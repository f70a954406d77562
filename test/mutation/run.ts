import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { explain, readEquivalents } from './equivalents.ts'
import type { Mutant } from './mutants.ts'
import { build, writeCopy } from './private-copy.ts'
import { type Outcome, openResults, type Results } from './results.ts'
import { pickSample } from './sample.ts'
import { stagesOf } from './targets.ts'
import { createWorker, type Worker } from './worker-pool.ts'

/** `npm run test:mutation`: see README.md. */

const { values, positionals: names } = parseArgs({
  allowPositionals: true,
  options: {
    list: { type: 'boolean', default: false },
    again: { type: 'boolean', default: false },
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    workers: { type: 'string', default: '2' },
  },
})

const home = join(import.meta.dirname, '..', '..', 'cache', 'mutation')
const resultsFile = join(home, 'results.json')
const copy = join(home, 'copy')
const { mutants, digest } = await writeCopy(copy)
const named = mutants.filter(({ file }) => names.length === 0 || names.some((name) => file.includes(name)))
const chosen = values.sample ? pickSample(named, Number(values.sample), Number(values.seed)) : named

if (values.list) {
  for (const mutant of chosen) console.log(describe(mutant))
} else {
  if (values.again) await rm(resultsFile, { force: true })
  await build(copy)
  const results = await openResults(resultsFile, digest)
  await runAll(results)
  await report(results)
}

async function runAll(results: Results): Promise<void> {
  const left = chosen.filter(({ id }) => (results.outcomes.get(id) ?? 'survived') === 'survived')
  console.log(`${chosen.length} mutants, ${left.length} of them to run`)
  const count = left.length
  const startedMs = performance.now()
  const work = async (_: unknown, index: number) => {
    await using worker = createWorker(copy)
    if (index === 0) await expectUnchangedToPass(worker)
    for (let mutant = left.shift(); mutant; mutant = left.shift()) {
      const outcome = await runOne(worker, mutant)
      await results.set(mutant.id, outcome)
      const seconds = Math.round((performance.now() - startedMs) / 1000)
      if (outcome !== 'killed') console.log(`${outcome}: ${describe(mutant)}`)
      if (left.length % 50 === 0) console.log(`${count - left.length} of ${count} after ${seconds} s`)
    }
  }
  await Promise.all(Array.from({ length: Number(values.workers) }, work))
}

/** Or every mutant would look killed. */
async function expectUnchangedToPass(worker: Worker): Promise<void> {
  const stages = new Set(chosen.flatMap(({ file }) => stagesOf(file)).map((files) => files.join(' ')))
  for (const files of stages) {
    const verdict = await worker.run({ mutantId: 0, files: files.split(' ') })
    if (verdict !== 'passed') throw new Error(`The tests fail without any change: ${files}`)
  }
}

async function runOne(worker: Worker, { id, file }: Mutant): Promise<Outcome> {
  for (const files of stagesOf(file)) {
    const verdict = await worker.run({ mutantId: id, files })
    if (verdict !== 'passed') return verdict === 'failed' ? 'killed' : 'timed out'
  }
  return 'survived'
}

async function report({ outcomes }: Results): Promise<void> {
  const { explained, survivors, problems } = explain(mutants, outcomes, await readEquivalents())
  const ofThese = survivors.filter((mutant) => chosen.includes(mutant))
  for (const mutant of ofThese) console.log(`nobody noticed: ${describe(mutant)}`)
  for (const problem of problems) console.log(problem)
  const numberOf = (outcome: Outcome) => chosen.filter(({ id }) => outcomes.get(id) === outcome).length
  console.log(
    `${chosen.length} mutants: ${numberOf('killed')} killed, ${numberOf('timed out')} timed out, ` +
      `${numberOf('survived') - ofThese.length} of ${explained} equivalent ones, ${ofThese.length} nobody noticed.`,
  )
  process.exitCode = ofThese.length === 0 && problems.length === 0 ? 0 : 1
}

function describe({ id, file, line, before, after }: Mutant): string {
  return `${id} ${file}:${line}: ${before} → ${after}`
}
