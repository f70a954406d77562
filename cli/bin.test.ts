import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import packageJson from '../package.json' with { type: 'json' }
import { createTestUser } from './testing.ts'

const bin = join(import.meta.dirname, 'bin.mjs')
/** Whatever Node the machine has; the project's own is not on the PATH of a user. */
const systemNode = 'node'

async function runBin(argv: readonly string[], file = bin) {
  const run = promisify(execFile)(systemNode, [file, ...argv], { env: { PATH: userPath() } })
  return run.then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code: code as number, stdout: String(stdout), stderr: String(stderr) }),
  )
}

/** The test runner may have put the project's own binaries first. */
function userPath(): string {
  return (process.env['PATH'] ?? '')
    .split(':')
    .filter((dir) => !dir.includes('node_modules'))
    .join(':')
}

test("any Node starts the command line with the project's own, and gets its output and exit code", async () => {
  expect(await runBin(['--version'])).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: '' })
  expect(await runBin(['nonsense'])).toMatchObject({ code: 2, stdout: '' })
  expect(await runBin(['build', '/nowhere'])).toMatchObject({ code: 1 })
})

test("a flag that Node has, too, is the command's", async () => {
  const missing = await promisify(execFile)(bin, ['build', '/nowhere', '--env-file', '/nothing'], {
    env: { PATH: userPath() },
  }).catch((error: { code: number; stderr: string }) => error)
  expect(missing).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('There is no flag --env-file here.'),
  })
})

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  '%s reaches the command, which ends well',
  async (signal) => {
    await using user = await createTestUser()
    await user.run(['init', 'app'])
    const child = spawn(systemNode, [bin, 'run', join(user.dir, 'app')], { env: { PATH: userPath() } })
    const [chunk] = await once(child.stdout, 'data')
    const url = /http_url=(\S+)/.exec(String(chunk))?.[1] as string
    expect((await fetch(url)).status).toBe(200)
    child.kill(signal)
    expect(await once(child, 'exit')).toEqual([0, null])
    await expect(fetch(url)).rejects.toThrow('fetch failed')
  },
)

test('Ctrl-C at a terminal reaches all that runs in it, but no call that is under way', async () => {
  await using user = await createTestUser()
  const dir = join(user.dir, 'app')
  await mkdir(dir)
  await writeFile(join(dir, 'khachapuri.json'), '{"name":"app","entry":"index.js"}')
  // Answers at once that it is there, and ends when its caller has said all.
  await writeFile(
    join(dir, 'index.js'),
    `export default {
      fetch(request) {
        const { readable, writable } = new TransformStream()
        const writer = writable.getWriter()
        void writer.write(new TextEncoder().encode('there'))
        void request.text().then((text) => writer.write(new TextEncoder().encode(text)).then(() => writer.close()))
        return new Response(readable)
      },
    }`,
  )
  const child = spawn(systemNode, [bin, 'run', dir], { env: { PATH: userPath() }, detached: true })
  const [chunk] = await once(child.stdout, 'data')
  const url = /http_url=(\S+)/.exec(String(chunk))?.[1] as string
  const call = request(url, { method: 'POST' })
  call.write('and ')
  const [answer] = (await once(call, 'response')) as [IncomingMessage]
  expect(String((await once(answer, 'data'))[0])).toBe('there')
  process.kill(-(child.pid as number), 'SIGINT')
  await expect
    .poll(() =>
      fetch(url).then(
        () => 'open',
        () => 'closed',
      ),
    )
    .toBe('closed')
  call.end('back')
  expect(await text(answer)).toBe('and back')
  expect(await once(child, 'exit')).toEqual([0, null])
})

test('where the packages are not installed, it says what to run', async () => {
  await using user = await createTestUser()
  await mkdir(join(user.dir, 'cli'))
  await cp(bin, join(user.dir, 'cli', 'bin.mjs'))
  const { code, stderr, stdout } = await runBin(['--version'], join(user.dir, 'cli', 'bin.mjs'))
  expect({ code, stdout, stderr: stderr.replaceAll(user.dir, '~') }).toMatchInlineSnapshot(`
    {
      "code": 1,
      "stderr": "Error: khachapuri needs its own Node 26, and ~/node_modules/.bin/node is not there.
    Run "npm ci" in the directory of khachapuri (or "npm start", which does it for you), then try again.
    ",
      "stdout": "",
    }
  `)
})
