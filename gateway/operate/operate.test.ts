import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { listen } from '../../protocol/http/listen.ts'
import { createTestAuthority } from '../../test/support/tls.ts'
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

test('with the files that the container gets, and no package for development, its command runs', async () => {
  await using folder = await openFolder()
  const text = await read('gateway', 'operate', 'Containerfile')
  const copies = [...text.matchAll(/^COPY (.*) (\S+)$/gm)]
  expect(copies.length).toBeGreaterThan(3)
  for (const [, names = '', target = ''] of copies) {
    for (const name of names.split(' ')) {
      const place = target.endsWith('/') ? join(target, name) : target
      await cp(join(root, name), join(folder.path, place), { recursive: true })
    }
  }
  // As `npm ci --omit=dev` leaves it.
  const { packages } = JSON.parse(await readFile(join(folder.path, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; optional?: boolean }>
  }
  const kept = Object.entries(packages).filter(
    ([place, { dev }]) => /^node_modules\/(?:@[^/]+\/)?[^/@]+$/.test(place) && !dev,
  )
  expect(kept.length).toBeGreaterThan(30)
  for (const [place, { optional }] of kept) {
    const source = join(root, place)
    if (optional && !existsSync(source)) continue
    await mkdir(dirname(join(folder.path, place)), { recursive: true })
    await symlink(source, join(folder.path, place))
  }
  const [, entry = '[]'] = /^ENTRYPOINT (.*)$/m.exec(text) ?? []
  const [, workDir = ''] = /^WORKDIR (.*)$/m.exec(text) ?? []
  const [program, main = '', ...words] = JSON.parse(entry) as string[]
  expect([program, dirname(dirname(main))]).toEqual(['node', workDir])
  const node = (...args: string[]) =>
    run(process.execPath, args, {
      cwd: folder.path,
      env: { PATH: process.env['PATH'], HOME: folder.path },
    })
  const path = join(folder.path, relative(workDir, main))
  const { stdout } = await node(path, ...words, 'check-config', '--rpc', chain.rpc, ...chainFlags, '--json')
  expect(JSON.parse(stdout)).toMatchObject({ settings: { port: 8080 } })
  // What `up` loads, and each further process.
  for (const file of [
    'gateway/start-gateway.ts',
    'gateway/cluster/nats-store.ts',
    'gateway/observe/otlp-tracer.ts',
  ]) {
    await node('--eval', `import(${JSON.stringify(join(folder.path, file))})`)
  }
})

test.each(['http', 'https'])(
  'the health check of the container hears a gateway over %s, and nobody where there is none',
  async (scheme) => {
    const health = join(import.meta.dirname, 'check-health.ts')
    expect(await read('gateway', 'operate', 'Containerfile')).toContain(
      'HEALTHCHECK CMD ["node", "/opt/khachapuri/gateway/operate/check-health.ts"]',
    )
    const check = (port: number) =>
      run(process.execPath, [health], { env: { KHACHAPURI_GATEWAY_PORT: String(port) } }).then(
        () => 'well',
        ({ code }) => code,
      )
    let status = 200
    const tls = { ...(await (await createTestAuthority()).sign('localhost')), ticketKeys: Buffer.alloc(48) }
    const listener = await listen({
      ...(scheme === 'https' && { tls }),
      onRequest: ({ url }, response) => void response.writeHead(url === '/healthz' ? status : 404, []).end(),
    })
    expect(await check(listener.port)).toBe('well')
    status = 503
    expect(await check(listener.port)).toBe(1)
    await listener[Symbol.asyncDispose]()
    expect(await check(listener.port)).toBe(1)
  },
)

const chainFlags = [
  '--chain-id',
  '1',
  ...['escrow', 'registry', 'usdc'].flatMap((name) => [`--${name}`, address]),
]

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
