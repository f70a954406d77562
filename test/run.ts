import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { hasBubblewrap } from './support/tools.ts'

/** `npm test`: every check of the project, one after the other, with a table of what took how long. */

const bin = join(import.meta.dirname, '..', 'node_modules')
const node = process.execPath

const steps: readonly { readonly name: string; readonly args: readonly string[] }[] = [
  { name: 'contracts compile', args: [join(bin, 'hardhat/dist/src/cli.js'), 'build', '--quiet'] },
  { name: 'types', args: [join(bin, 'typescript/bin/tsc'), '-p', '.'] },
  { name: 'types of the examples', args: [join(bin, 'typescript/bin/tsc'), '-p', 'examples'] },
  { name: 'lint and format', args: [join(bin, '@biomejs/biome/bin/biome'), 'check', '.'] },
  {
    name: 'units, properties, import fences',
    args: [join(bin, 'vitest/vitest.mjs'), 'run', '--project', 'unit'],
  },
  {
    name: 'Solidity: units, fuzz, invariants',
    args: [join(bin, 'hardhat/dist/src/cli.js'), 'test', 'solidity'],
  },
  { name: 'system', args: [join(bin, 'vitest/vitest.mjs'), 'run', '--project', 'system'] },
]

function run(args: readonly string[]): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(node, [...args], {
      stdio: 'inherit',
      env: { ...process.env, HARDHAT_DISABLE_TELEMETRY_PROMPT: 'true' },
    })
    child.on('exit', (code) => resolve(code ?? 1))
  })
}

if (!(await hasBubblewrap())) {
  console.log(
    'bubblewrap (bwrap) is missing or may not create namespaces: the sandbox tests are skipped by name.',
  )
}

const rows: string[] = []
let failures = 0
for (const { name, args } of steps) {
  console.log(`\n── ${name}`)
  const startedMs = performance.now()
  const code = await run(args)
  if (code !== 0) failures += 1
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  rows.push(`${code === 0 ? 'ok    ' : 'FAILED'}  ${seconds.padStart(6)} s  ${name}`)
}
console.log(`\n${rows.join('\n')}`)
process.exitCode = failures === 0 ? 0 : 1
