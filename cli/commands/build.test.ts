import { execFileSync } from 'node:child_process'
import { chmod, cp, mkdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readZip } from '../../protocol/ipfs/unpack-zip.ts'
import { createTestUser, type TestUser } from '../testing.ts'

interface Built {
  readonly path: string
  readonly program: string
  readonly programDigest: string
  readonly programId: string
  readonly files: readonly { path: string; bytes: number }[]
}

const examples = join(import.meta.dirname, '..', '..', 'examples')

/** Writes files into a user's directory. */
async function write(user: TestUser, files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(user.dir, path, '..'), { recursive: true })
    await writeFile(join(user.dir, path), text)
  }
}

const answersOne = {
  'khachapuri.json': '{"name":"one","entry":"index.js"}',
  'index.js': 'export default { fetch: () => new Response("1") }',
}

test('the same files in another place, with other times and modes, in another order, give the same zip', async () => {
  await using user = await createTestUser()
  await write(user, { ...answersOne, 'static/b/two.txt': '2', 'static/a.txt': '1' })
  await using other = await createTestUser()
  await write(other, { 'static/a.txt': '1', 'static/b/two.txt': '2', ...answersOne })
  await utimes(join(other.dir, 'index.js'), new Date(0), new Date(2 ** 31 * 1000))
  await chmod(join(other.dir, 'static/a.txt'), 0o600)
  const first = (await user.run(['build', '--json'])).json<Built>()
  const second = (await other.run(['build', '--json', '-o', 'sub/dir/x.zip'])).json<Built>()
  expect(await readFile(first.path)).toEqual(await readFile(second.path))
  expect(second).toEqual({ ...first, path: join(other.dir, 'sub/dir/x.zip') })
})

test('the time zone and the working directory leave no trace', async () => {
  await using user = await createTestUser()
  await cp(join(examples, 'factor'), join(user.dir, 'factor'), { recursive: true })
  const main = join(import.meta.dirname, '..', 'main.ts')
  const run = (TZ: string, cwd: string, dir: string) =>
    execFileSync(process.execPath, [main, 'build', dir, '--json'], {
      cwd,
      env: { ...process.env, TZ },
    }).toString()
  expect(run('Asia/Tokyo', user.dir, 'factor')).toBe(run('America/New_York', join(user.dir, 'factor'), '.'))
})

test('where packages are installed makes no difference, even for those of the CommonJS kind', async () => {
  await using user = await createTestUser()
  const program = {
    'khachapuri.json': '{"name":"app","entry":"index.js"}',
    'index.js': 'import one from "pkg"\nexport default { fetch: () => new Response(one.x) }',
  }
  const files = Object.entries(program)
  const within = (dir: string) => Object.fromEntries(files.map(([path, text]) => [`${dir}/${path}`, text]))
  const pkg = (dir: string) => ({
    [`${dir}/node_modules/pkg/package.json`]: '{"name":"pkg","main":"main.js"}',
    [`${dir}/node_modules/pkg/main.js`]: 'module.exports = { x: require("./y.js") }',
    [`${dir}/node_modules/pkg/y.js`]: 'module.exports = "y"',
  })
  await write(user, { ...within('mono/apps/app'), ...pkg('mono'), ...within('single'), ...pkg('single') })
  const programOf = async (dir: string) => (await user.run(['build', dir, '--json'])).json<Built>().program
  expect(await programOf('mono/apps/app')).toBe(await programOf('single'))
})

test('no path of this machine is in the zip', async () => {
  await using user = await createTestUser()
  await write(user, {
    'khachapuri.json': '{"name":"one","entry":"src/index.ts"}',
    'src/index.ts':
      'import old from "./old.cjs"\nexport default { fetch: () => new Response(String(old.at)) }',
    'src/old.cjs': 'module.exports = { at: 1 } // a comment',
  })
  const { path } = (await user.run(['build', '--json'])).json<Built>()
  const text = await readFile(path, 'latin1')
  expect(text).not.toContain(user.dir)
  expect(text).not.toContain('a comment')
})

test('the zip holds the bundle, the static files and the manifest, and nothing that is secret', async () => {
  await using user = await createTestUser()
  await write(user, {
    'khachapuri.json': '{"name":"site","entry":"src/index.ts","params":{"b":1,"a":2},"exclude":["*.map"]}',
    'src/index.ts':
      'import page from "./page.html"\nexport default { fetch: (): Response => new Response(page) }',
    'src/page.html': '<p>page</p>',
    'static/logo.svg': '<svg/>',
    'static/logo.svg.map': 'left out',
    'static/.env': 'SECRET=1',
    '.env': 'SECRET=1',
    secret: 'SECRET=1',
    'key.pem': 'SECRET',
    'README.md': 'not needed to run',
  })
  const { path, files } = (await user.run(['build', '--json'])).json<Built>()
  const zip = await readFile(path)
  const entries = await readZip(zip, AbortSignal.timeout(60_000))
  expect(entries.map((entry) => entry.path)).toEqual(['khachapuri.json', 'src/index.js', 'static/logo.svg'])
  expect(files.map((file) => file.path).sort()).toEqual([
    'khachapuri.json',
    'src/index.js',
    'static/logo.svg',
  ])
  expect(Buffer.from(entries[0]!.bytes).toString()).toBe(
    '{"entry":"src/index.js","limits":{"memoryMiB":128,"timeoutMs":10000},"name":"site","params":{"a":2,"b":1},"runtime":"js"}',
  )
  expect(Buffer.from(entries[1]!.bytes).toString()).toContain('<p>page</p>')
  expect(zip.includes('SECRET')).toBe(false)
})

test('a bundled program runs: packages for workers, modules of node under the one name that workerd knows', async () => {
  await using user = await createTestUser()
  await write(user, {
    'khachapuri.json': '{"name":"pkg","entry":"index.mts"}',
    'index.mts':
      'import { where } from "pkg"\nimport { join } from "path"\nimport { sep } from "node:path"\nimport events from "events"\n' +
      'export const facts: string[] = [where, join("a", "b"), sep, typeof events]',
    'node_modules/pkg/package.json':
      '{"name":"pkg","exports":{".":{"workerd":"./worker.js","node":"./node.js","default":"./other.js"}}}',
    'node_modules/pkg/worker.js': 'export const where = "worker"',
    'node_modules/pkg/node.js': 'export const where = "node"',
    'node_modules/pkg/other.js': 'export const where = "other"',
    'node_modules/events/package.json': '{"name":"events","main":"main.js"}',
    'node_modules/events/main.js': 'module.exports = "a package of this name goes first"',
  })
  const { path } = (await user.run(['build', '--json'])).json<Built>()
  const entries = await readZip(await readFile(path), AbortSignal.timeout(60_000))
  const code = Buffer.from(entries.find((entry) => entry.path === 'index.js')!.bytes).toString()
  expect(code).toContain('"node:path"')
  const { facts } = await import(`data:text/javascript;base64,${Buffer.from(code).toString('base64')}`)
  expect(facts).toEqual(['worker', 'a/b', '/', 'string'])
})

test('the ids are what sha256sum says', async () => {
  await using user = await createTestUser()
  await write(user, answersOne)
  const built = (await user.run(['build', '--json'])).json<Built>()
  const help = (await user.run(['id', '--help'])).stdout
  // The two lines of the help, as they are printed there.
  const script = help.match(/params=\$\(.*\n.*sha256sum\n/)?.[0].replace('app.zip', built.path) ?? ''
  const programId = execFileSync('bash', ['-c', script]).toString().slice(0, 64)
  const digest = execFileSync('sha256sum', [built.path]).toString().slice(0, 64)
  const ids = (await user.run(['id', built.path, '--json'])).json<Built>()
  expect(ids).toMatchObject({
    program: built.program,
    programDigest: `0x${digest}`,
    programId: `0x${programId}`,
  })
  expect(ids.programId).toBe(built.programId)
})

test('params change the programId and not the program, and their order does not matter', async () => {
  await using user = await createTestUser()
  await write(user, answersOne)
  const { path, program, programId } = (await user.run(['build', '--json'])).json<Built>()
  const idOf = async (params: string) =>
    (await user.run(['id', path, '--params', params, '--json'])).json<Built>()
  const one = await idOf('{"b":1,"a":2}')
  const two = await idOf('{ "a": 2, "b": 1.0 }')
  expect(one).toEqual(two)
  expect(one.program).toBe(program)
  expect(one.programId).not.toBe(programId)
  expect((await idOf('{}')).programId).toBe(programId)
})

test.each([
  ['no manifest', { 'index.js': '' }],
  ['a manifest that is no JSON', { 'khachapuri.json': '{' }],
  ['an unknown field', { 'khachapuri.json': '{"name":"a","entry":"i.js","entri":1}', 'i.js': '' }],
  ['an entry outside', { 'khachapuri.json': '{"name":"a","entry":"../i.js"}' }],
  ['an entry that is not there', { 'khachapuri.json': '{"name":"a","entry":"i.js"}' }],
  ['a syntax error', { ...answersOne, 'index.js': 'export default {' }],
  ['a package that is not installed', { ...answersOne, 'index.js': 'import "no-such-package"' }],
])('%s is refused, and no zip is written', async (_what, files) => {
  await using user = await createTestUser()
  await write(user, files as Record<string, string>)
  const result = await user.run(['build', '--json'])
  expect(result.exitCode).toBe(1)
  expect(result.json()).toMatchObject({ code: 'program_invalid' })
  await expect(readFile(join(user.dir, 'dist/app.zip'))).rejects.toThrow('ENOENT')
})

test('a symbolic link among the static files is refused', async () => {
  await using user = await createTestUser()
  await write(user, { ...answersOne, 'static/a.txt': '1' })
  await symlink('/etc/passwd', join(user.dir, 'static', 'passwd'))
  expect((await user.run(['build', '--json'])).json()).toMatchObject({ code: 'program_invalid' })
})

test("the compiler's message names the line, and nothing of this machine", async () => {
  await using user = await createTestUser()
  await write(user, { ...answersOne, 'index.js': 'import "./missing.js"\n' })
  const { stderr } = await user.run(['build'])
  expect(stderr).toContain('index.js:1:8: Could not resolve "./missing.js"')
})

test('all that is listed is printed, with the ids', async () => {
  await using user = await createTestUser()
  await write(user, answersOne)
  const { stdout } = await user.run(['build', '-o', 'app.zip'])
  expect(stdout.replaceAll(user.dir, '~')).toMatchInlineSnapshot(`
    "~/app.zip  383 B, 2 files:
      index.js  58 B
      khachapuri.json  105 B
    program    bafkreig5daaq6cfxornz5ykdmtjwrd5o6iuptnej24e3t6djgr5ydfivp4
    programId  0xecb1e62aaad25312903db6c440a4dd5a40b9ad6d77df5431807093cf360b1267
    "
  `)
})
