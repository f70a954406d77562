import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { readSettings } from '../config/read-settings.ts'

const root = join(import.meta.dirname, '..', '..')
const run = promisify(execFile)
const read = (...path: string[]) => readFile(join(root, ...path), 'utf8')

async function openFolder() {
  const path = await mkdtemp(join(tmpdir(), 'khachapuri-operate-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}

const hasSystemd = await run('systemd-analyze', ['--version']).then(
  () => true,
  () => false,
)

test.skipIf(!hasSystemd)('systemd takes the unit without a word', async () => {
  await using folder = await openFolder()
  const unit = join(folder.path, 'khachapuri-gateway.service')
  await writeFile(
    unit,
    (await read('gateway', 'operate', 'khachapuri-gateway.service')).replaceAll('/opt/khachapuri', root),
  )
  const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', unit])
  expect(stdout + stderr).toBe('')
})

const address = `0x${'a1'.repeat(20)}`
const chain = { rpc: 'http://rpc.example', chainId: 1, escrow: address, registry: address, usdc: address }

test.each(['khachapuri-gateway.service', 'Containerfile'])('what %s sets are settings', async (name) => {
  const text = await read('gateway', 'operate', name)
  const env = Object.fromEntries(
    [...text.matchAll(/(KHACHAPURI_GATEWAY_\w+)=(\S+)/g)].map(([, key = '', value]) => [key, value]),
  )
  expect(Object.keys(env).length).toBeGreaterThan(1)
  const flags = { values: { chain }, nameOf: () => '' }
  expect(readSettings({ flags, env }).dir).toBe('/var/lib/khachapuri-gateway')
})

/** Files that are loaded by a module, at once or later. */
async function importsOf(path: string, seen = new Set<string>()): Promise<Set<string>> {
  if (seen.has(path)) return seen
  seen.add(path)
  const source = path.endsWith('.ts') ? await readFile(path, 'utf8') : ''
  for (const [, specifier = ''] of source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)) {
    await importsOf(resolve(dirname(path), specifier), seen)
  }
  return seen
}

test('the container holds every folder that the gateway loads from, and runs as nobody special', async () => {
  const text = await read('gateway', 'operate', 'Containerfile')
  const copied = new Set(
    [...text.matchAll(/^COPY (.*) \S+$/gm)].flatMap(([, names = '']) => names.split(' ')),
  )
  const loaded = await importsOf(join(root, 'cli', 'commands', 'gateway', 'up.ts'))
  for (const path of await importsOf(join(root, 'cli', 'cli.ts'), new Set(loaded))) loaded.add(path)
  const rooms = new Set([...loaded].map((path) => relative(root, path).split('/')[0] ?? ''))
  expect(rooms.size).toBeGreaterThan(3)
  expect([...rooms].filter((room) => !copied.has(room))).toEqual([])
  expect(text).toMatch(/^USER node$/m)
})

test('the commands of the documentation run', async () => {
  await using folder = await openFolder()
  const page = await read('docs', 'operate-gateway.md')
  const blocks = [...page.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block)
  const [runnable = ''] = blocks.filter((block) => block.includes('check-config'))
  const bin = join(root, 'cli', 'bin.mjs')
  const script = `set -e\nkhachapuri() { "${process.execPath}" "${bin}" "$@"; }\n${runnable}`
  const { stdout } = await run('bash', ['-c', script], {
    cwd: folder.path,
    env: { PATH: process.env['PATH'], HOME: folder.path },
  })
  expect(stdout.match(/The settings are good/g)?.length).toBe(2)
  expect(stdout).toContain('"port": 8081')
})
