import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'

/** Every module that a file of ours loads before it runs, by its path or its package's name. */
async function staticImports(path: string, seen = new Set<string>()): Promise<Set<string>> {
  if (seen.has(path)) return seen
  seen.add(path)
  const source = await readFile(path, 'utf8')
  for (const [, clause, specifier = ''] of source.matchAll(
    /^(?:import|export)\s+([^;]*?from\s+)?'([^']+)'/gm,
  )) {
    if (clause?.startsWith('type ')) continue
    if (specifier.endsWith('.ts')) await staticImports(resolve(path, '..', specifier), seen)
    else seen.add(specifier)
  }
  return seen
}

const commands = [
  'init',
  'build',
  'id',
  'run',
  'deploy',
  'deposit',
  'approve',
  'pass/create',
  'resolve',
  'key/new',
]
const heavy = /^(?:helia|@helia\/|@libp2p\/|libp2p|node-forge|hardhat|hono)/

test.each(commands)('%s loads no IPFS node and no server framework', async (command) => {
  const loaded = await staticImports(resolve(import.meta.dirname, 'commands', `${command}.ts`))
  expect([...loaded].filter((name) => heavy.test(name))).toEqual([])
})

test('the list of commands loads none of them, and no package but our own', async () => {
  const loaded = [...(await staticImports(resolve(import.meta.dirname, 'main.ts')))]
  expect(loaded.filter((name) => name.includes('/commands/'))).toEqual([])
  expect(
    loaded.filter((name) => !name.startsWith('/') && !name.startsWith('node:') && !name.endsWith('.json')),
  ).toEqual([])
})

test('the check sees through files: provider up loads what makes RSA keys', async () => {
  const loaded = await staticImports(resolve(import.meta.dirname, 'commands', 'provider', 'up.ts'))
  expect([...loaded]).toContain('node-forge')
})
