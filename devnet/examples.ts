import { execFile } from 'node:child_process'
import { cp, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { ProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import type { DevMarket } from './market.ts'
import { canBuildC, canBuildGo } from './native.ts'

/** An example as anybody deploys it: from the command line. */
export interface DeployedExample {
  readonly name: ExampleName | NativeExampleName
  /** The callable CID. */
  readonly cid: string
  /** The zip's CID. */
  readonly program: string
  readonly programId: string
  /** By provider. */
  readonly urls: Readonly<Record<string, string>>
}

interface Example {
  /** In `examples/`; the whole path, where it is deployed from. */
  readonly folder: string
  /** Of `khachapuri deploy`. */
  readonly flags: readonly string[]
}

interface NativeExample extends Example {
  readonly canBuild: (signal: AbortSignal) => Promise<boolean>
}

const examples = {
  markdown: { folder: 'markdown', flags: [] },
  'csv-stats': { folder: 'csv-stats', flags: [] },
  factor: { folder: 'factor', flags: [] },
  /** The same program once more: who calls it pays. */
  'paid-factor': { folder: 'factor', flags: ['--payer', 'caller'] },
  greet: { folder: 'greet', flags: ['--env-file', 'greet.env'] },
  thumbnail: { folder: 'thumbnail', flags: [] },
  sqlite: { folder: 'sqlite', flags: [] },
  'sse-clock': { folder: 'sse-clock', flags: [] },
} satisfies Record<string, Example>

/** Made by their `build.sh` first, and deployed where the providers run native programs and there is what builds them. */
const nativeExamples = {
  'port-go': { folder: 'port-go', flags: [], canBuild: canBuildGo },
  'ws-echo': { folder: 'ws-echo', flags: [], canBuild: canBuildC },
} satisfies Record<string, NativeExample>

type NativeExampleName = keyof typeof nativeExamples
const nativeExampleNames = Object.keys(nativeExamples) as readonly NativeExampleName[]

export type ExampleName = keyof typeof examples
export const exampleNames = Object.keys(examples) as readonly ExampleName[]

const root = join(import.meta.dirname, '..')
/** `greet` signs with a secret; its README's sample was signed with this one. */
const greetSecret = 'correct horse battery staple'

/**
 * Deploys an example to both providers with `khachapuri deploy`, exactly as a developer would.
 *
 * @param home - Where the command line may keep what it learns, such as pinned identities.
 */
async function deployExample(
  name: DeployedExample['name'],
  { folder, flags }: Example,
  market: DevMarket,
  home: string,
  signal: AbortSignal,
): Promise<DeployedExample> {
  const line = ['deploy', folder, '--provider', 'alice', '--provider', 'bob']
  const printed = await runAsDeveloper(
    [...line, '--owner-per-day', '5', '--json', ...flags],
    market,
    home,
    signal,
  )
  return { name, ...(JSON.parse(printed) as Omit<DeployedExample, 'name'>) }
}

/**
 * Runs the command line as a developer would.
 *
 * @returns what it printed
 * @throws ProtocolError `internal` with that
 */
export async function runAsDeveloper(
  line: readonly string[],
  { gateway, chain, accounts }: DevMarket,
  home: string,
  signal: AbortSignal,
): Promise<string> {
  const args = [join(root, 'cli', 'main.ts'), ...line]
  const env = {
    PATH: process.env['PATH'],
    KHACHAPURI_HOME: home,
    KHACHAPURI_GATEWAY: gateway.url.origin,
    KHACHAPURI_RPC: chain.rpcUrl.origin,
    KHACHAPURI_PRIVATE_KEY: accounts.developer.privateKey,
  }
  try {
    const options = { cwd: home, env, signal, timeout: limits.exampleDeployTimeoutMs }
    const { stdout } = await promisify(execFile)(process.execPath, args, options)
    return stdout
  } catch (error) {
    signal.throwIfAborted()
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new ProtocolError(
      'internal',
      `The examples could not be deployed: ${`${stderr}\n${stdout}`.trim()}`,
      {
        hint: `Try it by hand: npx khachapuri ${line.join(' ')}`,
        cause: error,
      },
    )
  }
}

/** What `greet` needs to know, in a file of the shape that a developer writes. */
const greetEnv = `GREETING_SECRET="${greetSecret}"\n`

/** Deploys all examples, two at a time: a keeper takes no more uploads of one owner at once. */
export async function deployExamples(
  market: DevMarket,
  home: string,
  signal: AbortSignal,
): Promise<readonly DeployedExample[]> {
  await writeFile(join(home, 'greet.env'), greetEnv, { mode: 0o600 })
  const half = Math.ceil(exampleNames.length / 2)
  const lanes = [exampleNames.slice(0, half), exampleNames.slice(half)].map(async (names) => {
    const deployed: DeployedExample[] = []
    for (const name of names)
      deployed.push(await deployExample(name, at(examples[name]), market, home, signal))
    return deployed
  })
  const deployed: DeployedExample[] = (await Promise.all(lanes)).flat()
  const isNativeRun = market.providers.alice.info.runtimes.includes('native')
  for (const name of isNativeRun ? nativeExampleNames : []) {
    if (!(await nativeExamples[name].canBuild(signal))) continue
    const example = await buildExample(at(nativeExamples[name]), home, signal)
    deployed.push(await deployExample(name, example, market, home, signal))
  }
  return deployed
}

/** An example that has a name: what it is called stays the same whatever it is deployed as. */
export const namedExample: ExampleName = 'greet'

/** Gives it that name with `khachapuri name register`, as its developer would. */
export async function nameExample(
  market: DevMarket,
  deployed: readonly DeployedExample[],
  home: string,
  signal: AbortSignal,
): Promise<void> {
  const example = deployed.find(({ name }) => name === namedExample)
  if (!example) return
  const line = ['name', 'register', namedExample, example.cid, '--provider', 'alice', '--provider', 'bob']
  await runAsDeveloper([...line, '--yes'], market, home, signal)
}

/** @returns the example with the whole path of its folder */
const at = (example: Example): Example => ({ ...example, folder: join(root, 'examples', example.folder) })

/** Builds a copy, so that nothing of it stays among the sources. */
async function buildExample(example: Example, home: string, signal: AbortSignal): Promise<Example> {
  const folder = join(home, basename(example.folder))
  await cp(example.folder, folder, { recursive: true })
  await promisify(execFile)('sh', [join(folder, 'build.sh')], {
    signal,
    timeout: limits.exampleDeployTimeoutMs,
  })
  return { ...example, folder }
}
