import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import type { DevMarket } from './market.ts'

/** An example as anybody deploys it: from the command line. */
export interface DeployedExample {
  readonly name: ExampleName
  /** The callable CID. */
  readonly cid: string
  /** The zip's CID. */
  readonly program: string
  readonly programId: string
  /** By provider. */
  readonly urls: Readonly<Record<string, string>>
}

interface Example {
  /** In `examples/`. */
  readonly folder: string
  /** Of `khachapuri deploy`. */
  readonly flags: readonly string[]
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
} satisfies Record<string, Example>

export type ExampleName = keyof typeof examples
export const exampleNames = Object.keys(examples) as readonly ExampleName[]

const root = join(import.meta.dirname, '..')
/** `greet` signs with a secret; its README's sample was signed with this one. */
const greetSecret = 'correct horse battery staple'

/**
 * Deploys an example to both providers with `khachapuri deploy`, exactly as a developer would.
 *
 * @param home - Where the command line may keep what it learns, such as pinned identities.
 * @throws ProtocolError `internal` with what the command printed
 */
async function deployExample(
  name: ExampleName,
  { gateway, chain, accounts }: DevMarket,
  home: string,
  signal: AbortSignal,
): Promise<DeployedExample> {
  const { folder, flags }: Example = examples[name]
  const args = [
    join(root, 'cli', 'main.ts'),
    ...['deploy', join(root, 'examples', folder), '--provider', 'alice', '--provider', 'bob'],
    ...['--owner-per-day', '5', '--json', ...flags],
  ]
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
    return { name, ...(JSON.parse(stdout) as Omit<DeployedExample, 'name'>) }
  } catch (error) {
    signal.throwIfAborted()
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new ProtocolError(
      'internal',
      `The example ${name} could not be deployed: ${`${stderr}\n${stdout}`.trim()}`,
      {
        hint: `Try it by hand: npx khachapuri deploy examples/${folder} --provider alice`,
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
    for (const name of names) deployed.push(await deployExample(name, market, home, signal))
    return deployed
  })
  return (await Promise.all(lanes)).flat()
}
