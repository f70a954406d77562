import { spawn } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Mutant, mutantSource, mutateFile, toView } from './mutants.ts'

/**
 * `npm run test:mutation`: changes one thing at a time in the contracts that hold money and names, in a private copy,
 * and runs the Solidity tests on each. A change that no test notices, a survivor, is a missing test, or it changes
 * nothing: those are in `equivalent.json`, each with its reason.
 *
 *   npm run test:mutation [-- <part of a file's name>] [--list]
 */

const root = join(import.meta.dirname, '..', '..')
const names = process.argv.slice(2).filter((argument) => !argument.startsWith('--'))

/** What is mutated, and the tests that must notice: the long ones are asked only about what the others let pass. */
const targets = [
  {
    files: [
      'contracts/GrantSlot.sol',
      'contracts/VoucherRow.sol',
      'contracts/escrow/EscrowState.sol',
      'contracts/escrow/EscrowMoney.sol',
      'contracts/escrow/EscrowGrants.sol',
      'contracts/escrow/EscrowCollection.sol',
      'contracts/escrow/EscrowTrials.sol',
    ],
    tests: [/^(Escrow(?!Invariants)|GrantSlot|VoucherRow)/, /^EscrowInvariants/],
  },
  { files: ['contracts/Registry.sol'], tests: [/^Registry/] },
]

interface Job {
  readonly mutant: Mutant
  /** Files, in the order of the stages. */
  readonly stages: readonly (readonly string[])[]
}

type Outcome = 'killed' | 'survived' | 'timed out'

/** A mutant that loops for ever is noticed by whoever waits. */
const jobTimeoutMs = 300_000

const copy = await mkdtemp(join(tmpdir(), 'khachapuri-mutation-'))
try {
  const jobs = await prepare()
  console.log(`${jobs.length} mutants in ${copy}`)
  if (process.argv.includes('--list')) {
    for (const { mutant } of jobs) console.log(describe(mutant))
  } else {
    await hardhat(['build', '--quiet'], 0, undefined)
    const survived = await runAll(jobs)
    process.exitCode = survived.length === 0 ? 0 : 1
  }
} finally {
  await rm(copy, { recursive: true, force: true })
}

async function prepare(): Promise<Job[]> {
  await cp(join(root, 'contracts'), join(copy, 'contracts'), { recursive: true })
  await cp(join(root, 'test', 'contracts'), join(copy, 'test', 'contracts'), { recursive: true })
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
  await cp(join(import.meta.dirname, 'hardhat.config.ts'), join(copy, 'hardhat.config.ts'))
  await writeFile(join(copy, 'package.json'), '{"type":"module"}')
  await changeAll(join(copy, 'contracts'), toView)
  await changeAll(join(copy, 'test'), (source) => withoutCampaigns(toView(source)))
  await writeFile(join(copy, 'contracts', 'Mutant.sol'), mutantSource)

  const jobs: Job[] = []
  for (const { files, tests } of targets) {
    const all = (await readdir(join(root, 'test', 'contracts'))).filter((name) => name.endsWith('.t.sol'))
    const stages = tests.map((stage) =>
      all.filter((name) => stage.test(name)).map((name) => `test/contracts/${name}`),
    )
    for (const file of files) {
      const source = await readFile(join(root, file), 'utf8')
      const { text, mutants } = mutateFile(file, source, jobs.length + 1)
      await writeFile(join(copy, file), text)
      jobs.push(...mutants.map((mutant) => ({ mutant, stages })))
    }
  }
  return jobs.filter(
    ({ mutant: { file } }) => names.length === 0 || names.some((name) => file.includes(name)),
  )
}

/** Invariants are asked at the end of a fixed sequence, too; thousands of sequences would take days. */
function withoutCampaigns(source: string): string {
  return source.replace(/hardhat-config: invariant\.runs = \d+/g, 'hardhat-config: invariant.runs = 1')
}

async function changeAll(folder: string, change: (source: string) => string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.name.endsWith('.sol')) continue
    const file = join(entry.parentPath, entry.name)
    await writeFile(file, change(await readFile(file, 'utf8')))
  }
}

async function runAll(jobs: readonly Job[]): Promise<Mutant[]> {
  const equivalent = await readEquivalent()
  await expectUnchangedToPass(jobs)

  const survived: Mutant[] = []
  const counts: Record<Outcome, number> = { killed: 0, survived: 0, 'timed out': 0 }
  let explained = 0
  const left = [...jobs]
  const work = async () => {
    for (let job = left.shift(); job; job = left.shift()) {
      const outcome = await runOne(job)
      counts[outcome] += 1
      if (outcome !== 'survived') continue
      if (equivalent.has(keyOf(job.mutant))) {
        explained += 1
        continue
      }
      survived.push(job.mutant)
      console.log(`survived: ${describe(job.mutant)}`)
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))

  const { killed, 'timed out': timedOut } = counts
  console.log(
    `${jobs.length} mutants: ${killed} killed, ${timedOut} timed out, ${explained} equivalent, ${survived.length} survived.`,
  )
  return survived
}

/** Or every mutant would look killed. */
async function expectUnchangedToPass(jobs: readonly Job[]): Promise<void> {
  const stages = new Set(jobs.flatMap((job) => job.stages).map((files) => files.join(' ')))
  for (const files of stages) {
    const code = await hardhat(testArguments(files.split(' ')), 0, undefined)
    if (code !== 0) throw new Error(`The tests fail without any change: ${files}`)
  }
}

async function runOne({ mutant, stages }: Job): Promise<Outcome> {
  const signal = AbortSignal.timeout(jobTimeoutMs)
  for (const files of stages) {
    const code = await hardhat(testArguments(files), mutant.id, signal)
    if (signal.aborted) return 'timed out'
    if (code !== 0) return 'killed'
  }
  return 'survived'
}

/** The runner calls what it finds among the files that it is given: handlers are in support/. */
function testArguments(files: readonly string[]): string[] {
  const handler = 'test/contracts/support/EscrowVoucherHandler.sol'
  const withHandler = files.some((file) => file.includes('Invariants')) ? [...files, handler] : files
  return ['test', 'solidity', '--no-compile', ...withHandler]
}

function hardhat(
  args: readonly string[],
  mutantId: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const cli = join(root, 'node_modules/hardhat/dist/src/cli.js')
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, ...args], {
      cwd: copy,
      // What a build says is worth reading when it fails; what a thousand failing tests say is not.
      stdio: args[0] === 'build' ? ['ignore', 'inherit', 'inherit'] : 'ignore',
      env: { ...process.env, MUTANT: String(mutantId), HARDHAT_DISABLE_TELEMETRY_PROMPT: 'true' },
      ...(signal && { signal, killSignal: 'SIGKILL' }),
    })
    child.on('error', (error) => (signal?.aborted ? resolve(1) : reject(error)))
    child.on('exit', (code) => {
      if (args[0] === 'build' && code !== 0) reject(new Error('The mutants do not compile.'))
      else resolve(code ?? 1)
    })
  })
}

/** A mutant that changes nothing that anybody could see, and why. Not by its line's number: those move. */
interface Equivalent {
  readonly file: string
  readonly context: string
  readonly before: string
  readonly after: string
}

async function readEquivalent(): Promise<ReadonlySet<string>> {
  const text = await readFile(join(import.meta.dirname, 'equivalent.json'), 'utf8')
  return new Set((JSON.parse(text) as Equivalent[]).map(keyOf))
}

function keyOf({ file, context, before, after }: Equivalent): string {
  return JSON.stringify([file, context, before, after])
}

function describe({ id, file, line, before, after }: Mutant): string {
  return `${id} ${file}:${line}: ${before} → ${after}`
}
