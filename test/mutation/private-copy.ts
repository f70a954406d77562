import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Mutant, mutantSource, mutateFile, toView } from './mutants.ts'
import { targetFiles } from './targets.ts'

const root = join(import.meta.dirname, '..', '..')

export interface PrivateCopy {
  readonly mutants: readonly Mutant[]
  /** Of what is mutated and how: numbers of mutants mean the same as long as this is the same. */
  readonly digest: string
}

/** Writes contracts with all their mutants, and the tests, to `folder`; `build` compiles them. */
export async function writeCopy(folder: string): Promise<PrivateCopy> {
  await mkdir(folder, { recursive: true })
  for (const part of ['contracts', 'test']) await rm(join(folder, part), { recursive: true, force: true })
  for (const part of ['contracts', 'test/contracts', 'test/mutation', 'test/support/quick-tests.ts']) {
    await cp(join(root, part), join(folder, part), { recursive: true })
  }
  await linkTo('node_modules', folder)
  await linkTo('protocol', folder)
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  await writeFile(
    join(folder, 'hardhat.config.ts'),
    "export { default } from './test/mutation/hardhat.config.ts'\n",
  )
  await changeAll(join(folder, 'contracts'), toView)
  await changeAll(join(folder, 'test'), (source) => withoutCampaigns(toView(source)))
  await writeFile(join(folder, 'contracts', 'Mutant.sol'), mutantSource)

  const mutants: Mutant[] = []
  const digest = createHash('sha256')
  for (const file of targetFiles) {
    const source = await readFile(join(root, file), 'utf8')
    const mutated = mutateFile(file, source, mutants.length + 1)
    await writeFile(join(folder, file), mutated.text)
    mutants.push(...mutated.mutants)
    digest.update(mutated.text)
  }
  return { mutants, digest: digest.digest('hex') }
}

export async function build(folder: string): Promise<void> {
  const cli = join(root, 'node_modules/hardhat/dist/src/cli.js')
  const child = spawn(process.execPath, [cli, 'build', '--quiet'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, HARDHAT_DISABLE_TELEMETRY_PROMPT: 'true' },
  })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error('The mutants do not compile.')
}

async function linkTo(name: string, folder: string): Promise<void> {
  await rm(join(folder, name), { force: true })
  await symlink(join(root, name), join(folder, name))
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
