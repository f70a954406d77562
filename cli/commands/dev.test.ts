import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createTestUser, type ServingCommand, startServing, type TestUser } from '../testing.ts'

interface Dev extends ServingCommand {
  readonly url: string
  /** Resolves with the next note that matches, from now on. */
  heard(pattern: RegExp): Promise<string>
}

async function startDev(user: TestUser, ...flags: string[]): Promise<Dev> {
  const waiting = new Set<{ pattern: RegExp; resolve: (text: string) => void }>()
  const onNote = (text: string) => {
    for (const one of waiting) {
      if (!one.pattern.test(text)) continue
      waiting.delete(one)
      one.resolve(text)
    }
  }
  const command = await startServing(user, ['dev', 'app', '--port', '0', ...flags], { onNote })
  return {
    ...command,
    url: /http_url=(\S+)/.exec(command.first)?.[1] ?? '',
    heard: (pattern) => new Promise((resolve) => waiting.add({ pattern, resolve })),
  }
}

/** A program that says its edition; a POST is echoed as it comes. */
const sourceOf = (edition: string) => `export default {
  fetch(request, env) {
    if (request.method === 'POST') return new Response(request.body)
    if (request.url.endsWith('/throw')) throw new Error('ouch')
    return new Response('${edition} ' + (env.KEY ?? 'no key'))
  },
}`

async function writeApp(user: TestUser, source: string): Promise<void> {
  await mkdir(join(user.dir, 'app'), { recursive: true })
  await writeFile(join(user.dir, 'app', 'index.js'), source)
  await writeFile(join(user.dir, 'app', 'khachapuri.json'), '{"name":"app","entry":"index.js"}')
}

const textOf = async (url: string) => (await fetch(url)).text()

test('a change is built and answers; a call that is under way ends in the build that it began in', async () => {
  await using user = await createTestUser()
  await writeApp(user, sourceOf('one'))
  const dev = await startDev(user, '--price', '0.002')
  expect(await textOf(dev.url)).toBe('one no key')

  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const writer = writable.getWriter()
  const echo = fetch(dev.url, { method: 'POST', body: readable, duplex: 'half' } as RequestInit)
  void writer.write(Buffer.from('first '))
  const reader = ((await echo).body as ReadableStream<Uint8Array>).getReader()
  expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe('first ')

  const rebuilt = dev.heard(/^Built 0x/)
  await writeFile(join(user.dir, 'app', 'index.js'), sourceOf('two'))
  await rebuilt
  expect(await textOf(dev.url)).toBe('two no key')
  await writer.write(Buffer.from('last'))
  await writer.close()
  expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe('last')
  expect((await reader.read()).done).toBe(true)

  const withKey = dev.heard(/^Built 0x/)
  await writeFile(join(user.dir, 'app', '.env'), 'KEY=sesame')
  await withKey
  expect(await textOf(dev.url)).toBe('two sesame')
  expect((await fetch(`${dev.url}throw`)).status).toBe(502)
  const { exitCode, stderr } = await dev.stop()
  expect(exitCode).toBe(0)
  expect(stderr).toMatch(/GET \/ {2}200 {2}[\d.]+ ms {2}([\d.]+ MiB {2})?0\.002 USDC\n/)
  expect(stderr).toMatch(/GET \/throw {2}502 program_crashed {2}[\d.]+ ms {2}([\d.]+ MiB {2})?0\.002 USDC\n/)
  expect(stderr).not.toContain('broken off')
})

test('a build that fails is told, and the last one goes on; what is no change is not built', async () => {
  await using user = await createTestUser()
  await writeApp(user, 'export default {')
  const dev = await startDev(user)
  expect(await (await fetch(dev.url)).json()).toMatchObject({ code: 'program_invalid' })
  const mended = dev.heard(/^Built 0x/)
  await writeApp(user, sourceOf('mended'))
  await mended
  expect(await textOf(dev.url)).toBe('mended no key')

  for (const [source, message] of [
    ['export default {', /index\.js:1:.*\n[\s\S]*program_invalid[\s\S]*The last build goes on/],
    ['throw new Error("at the start")', /at the start[\s\S]*program_crashed[\s\S]*The last build goes on/],
  ] as const) {
    const told = dev.heard(message)
    await writeFile(join(user.dir, 'app', 'index.js'), source)
    await told
    expect(await textOf(dev.url)).toBe('mended no key')
  }
  const gone = dev.heard(/There is no khachapuri\.json[\s\S]*The last build goes on/)
  await rm(join(user.dir, 'app', 'khachapuri.json'))
  await gone
  const again = dev.heard(/It is again what runs/)
  await writeApp(user, sourceOf('mended'))
  await again
  expect(await textOf(dev.url)).toBe('mended no key')
  expect((await dev.stop()).exitCode).toBe(0)
})

test.each([
  ['a directory that is not there', 'dev nothing --port 0', 'program_invalid'],
  ['two prices', 'dev app --price 1 --provider alice', 'usage_invalid'],
  ['a price that is none', 'dev app --price much', 'usage_invalid'],
  ['a provider without a market', 'dev app --provider alice', 'market_not_running'],
])('%s is refused', async (_what, line, code) => {
  await using user = await createTestUser()
  expect((await user.run([...line.split(' '), '--json'])).json()).toMatchObject({ code })
})
