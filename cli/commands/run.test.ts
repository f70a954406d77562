import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { listen } from '../../protocol/http/listen.ts'
import { createTestUser, startServing, type TestUser } from '../testing.ts'

async function start(user: TestUser, argv: readonly string[]) {
  const { first, stop } = await startServing(user, ['run', ...argv])
  return { out: first, url: /http_url=(\S+)/.exec(first)?.[1] ?? '', stop }
}

test('a program answers at the printed address until it is interrupted, and each request is noted', async () => {
  await using user = await createTestUser()
  await user.run(['init', 'app'])
  const { programId } = (await user.run(['build', 'app', '--json'])).json()
  await writeFile(join(user.dir, 'app', '.env'), 'GREETING="Good \\"morning\\""')
  const running = await start(user, ['app'])
  expect(running.out).toBe(`program_id=${programId}\nhttp_url=${running.url}\n`)
  expect(await (await fetch(`${running.url}hello?name=Ada`)).json()).toEqual({
    greeting: 'Good "morning", Ada!',
  })
  const body = Buffer.alloc(100_000, 7)
  const echo = await fetch(`${running.url}echo`, { method: 'POST', body })
  expect(Buffer.from(await echo.arrayBuffer())).toEqual(body)
  expect((await fetch(`${running.url}nowhere`)).status).toBe(404)
  const { exitCode, stderr } = await running.stop()
  expect(exitCode).toBe(0)
  expect(stderr).toMatch(/GET \/hello\?name=Ada {2}200 {2}\d+ ms/)
  expect(stderr).toMatch(/GET \/nowhere {2}404 {2}\d+ ms/)
  await expect(fetch(running.url)).rejects.toThrow('fetch failed')
})

test('a zip runs as well, with other params than its own', async () => {
  await using user = await createTestUser()
  const source = 'export default { fetch: (request, env) => Response.json(env.params) }'
  await writeFile(join(user.dir, 'index.js'), source)
  await writeFile(
    join(user.dir, 'khachapuri.json'),
    '{"name":"params","entry":"index.js","params":{"own":1}}',
  )
  await user.run(['build', '-o', 'app.zip'])
  const running = await start(user, ['app.zip', '--params', '{"other":[2]}'])
  expect(await (await fetch(running.url)).json()).toEqual({ other: [2] })
  await running.stop()
})

test('a program reaches this machine where its manifest lists it and its developer says so', async () => {
  await using user = await createTestUser()
  await using neighbour = await listen({
    host: '127.0.0.1',
    port: 0,
    onRequest: (_request, response) => response.end('a neighbour'),
  })
  const { origin } = neighbour.url
  const source = `export default { async fetch() {
    const answer = await fetch(${JSON.stringify(origin)})
    return new Response(answer.headers.get('khachapuri-egress') ?? await answer.text())
  } }`
  await writeFile(join(user.dir, 'index.js'), source)
  const manifest = { name: 'near', entry: 'index.js', limits: { egress: [origin] } }
  await writeFile(join(user.dir, 'khachapuri.json'), JSON.stringify(manifest))
  for (const [argv, text] of [
    [['--egress-private'], 'a neighbour'],
    [[], 'egress_address_blocked'],
  ] as const) {
    const running = await start(user, argv)
    expect(await (await fetch(running.url)).text()).toBe(text)
    await running.stop()
  }
})

test('a program that fails is told of by the place in its source, to callers and in what it prints', async () => {
  await using user = await createTestUser()
  const source = `
interface Env { readonly params: unknown }
export default {
  fetch(_request: Request, _env: Env) {
    console.log(new Error('printed').stack)
    throw new TypeError('thrown')
  },
}
`
  await writeFile(join(user.dir, 'index.ts'), source)
  await writeFile(join(user.dir, 'khachapuri.json'), '{"name":"failing","entry":"index.ts"}')
  const running = await start(user, ['.'])
  const answer = await fetch(running.url)
  const place = 'The program failed: TypeError: thrown (index.ts:6:11)'
  expect([answer.status, await answer.json()]).toMatchObject([
    502,
    { code: 'program_crashed', detail: place },
  ])
  const { stderr } = await running.stop()
  expect(stderr).toContain(`ms\n  ${place}\n`)
  expect(stderr).toMatch(/Error: printed\n\s+at \S+ \(index\.ts:5:17\)/)

  await writeFile(join(user.dir, 'index.ts'), '\n\nthrow new Error("at the start")\nexport default {}')
  expect((await user.run(['run', '.', '--json'])).json()).toMatchObject({
    detail: expect.stringContaining('(index.ts:3:'),
  })
})

test('a program that cannot start is refused with its own message', async () => {
  await using user = await createTestUser()
  await writeFile(join(user.dir, 'index.js'), 'throw new Error("no luck")\nexport default {}')
  await writeFile(join(user.dir, 'khachapuri.json'), '{"name":"broken","entry":"index.js"}')
  const result = await user.run(['run', '--json'])
  expect(result.exitCode).toBe(1)
  expect(result.json()).toMatchObject({ code: 'program_crashed', detail: expect.stringContaining('no luck') })
})

test('a taken port is said', async () => {
  await using user = await createTestUser()
  await user.run(['init', 'app'])
  const running = await start(user, ['app'])
  const { port } = new URL(running.url)
  expect((await user.run(['run', 'app', '--port', port, '--json'])).json()).toMatchObject({
    code: 'port_taken',
  })
  await running.stop()
})

test.each([
  ['no program', ['nothing'], 'program_invalid'],
  ['a port that is none', ['--port', '70000'], 'usage_invalid'],
  ['params that are no object', ['--params', '[1]'], 'usage_invalid'],
  ['a missing env file', ['app', '--env-file', 'nothing'], 'config_invalid'],
])('%s is refused', async (_what, argv, code) => {
  await using user = await createTestUser()
  await user.run(['init', 'app'])
  if (argv[0]?.startsWith('--')) argv.unshift('app')
  expect((await user.run(['run', ...argv, '--json'])).json()).toMatchObject({ code })
})

test('the readme of a new program names commands that exist', async () => {
  await using user = await createTestUser()
  await user.run(['init', 'app'])
  const readme = await readFile(join(user.dir, 'app', 'README.md'), 'utf8')
  const commands = [...readme.matchAll(/^khachapuri (\w+)/gm)].map(([, name]) => name as string)
  expect(commands).toEqual(['dev', 'deploy', 'logs', 'rollback'])
  for (const name of commands) expect((await user.run([name, '--help'])).exitCode).toBe(0)
})

test('activations are called here as at a provider, and attest with a key of this run', async () => {
  await using user = await createTestUser()
  const source = `export const activations = {
    say: async ({ text }, { attest, programId }) => [text, programId, (await attest(new TextEncoder().encode(text))).length],
  }
  export default { fetch: async (request, env, ctx) => Response.json(await ctx.attest(new Uint8Array())) }`
  await writeFile(join(user.dir, 'index.js'), source)
  const activations = { say: { params: { text: { type: 'string' } } } }
  const manifest = { name: 'notary', entry: 'index.js', activations, capabilities: ['attest'] }
  await writeFile(join(user.dir, 'khachapuri.json'), JSON.stringify(manifest))
  const { programId } = (await user.run(['build', '--json'])).json()
  const running = await start(user, ['.'])
  const said = ['a b', programId, 96]
  expect(await (await fetch(`${running.url}_/activate/say?text=a+b`)).json()).toEqual(said)
  const body = '{"text":"a b"}'
  expect(await (await fetch(`${running.url}_/activate/say`, { method: 'POST', body })).json()).toEqual(said)
  const missing = await fetch(`${running.url}_/activate/say`)
  expect([missing.status, await missing.json()]).toMatchObject([400, { param: 'text' }])
  const page = await fetch(running.url)
  expect([page.status, await page.json()]).toMatchObject([403, { code: 'attest_outside_activation' }])
  await running.stop()

  await writeFile(join(user.dir, '.env'), 'KEY=x')
  const { exitCode, stderr } = await user.run(['run', '.'])
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining('has no env')])
})
