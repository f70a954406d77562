import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createUserInMarket, type UserInMarket } from '../market/testing-user.ts'

const source = `export default {
  fetch(request, env) {
    const { pathname } = new URL(request.url)
    console.log('asked for ' + pathname)
    console.error('the key is ' + env.API_KEY)
    if (pathname === '/throw') throw new Error('ouch, ' + env.API_KEY)
    return new Response('', { status: pathname === '/none' ? 404 : 200 })
  },
}`

let at: UserInMarket
let deployed: { cid: string; urls: Record<'alice' | 'bob', string> }
beforeAll(async () => {
  at = await createUserInMarket()
  const dir = join(at.user.dir, 'chatty')
  await mkdir(dir)
  await writeFile(join(dir, 'index.js'), source)
  await writeFile(join(dir, 'khachapuri.json'), '{"name":"chatty","entry":"index.js"}')
  await writeFile(join(dir, '.env'), 'API_KEY=open sesame\n')
  deployed = (await run('deploy chatty --provider alice --provider bob --json')).json()
  for (const path of ['ok?token=callers-secret', 'none', 'throw'])
    await run(`call ${deployed.urls.alice}${path}`)
})
afterAll(() => at[Symbol.asyncDispose]())

const run = (line: string, options?: Parameters<UserInMarket['user']['run']>[1]) =>
  at.user.run(line.split(' '), options)
const read = async (flags = '') => (await run(`logs ${deployed.cid} --provider alice${flags}`)).stdout

test('the owner reads calls, output and what became of the program, and no secret of anybody', async () => {
  const text = await read()
  expect(text).toMatch(/· The program is started\.\n/)
  expect(text).toMatch(/GET \/ok {2}200 {2}\d+ ms {2}0\.0005 USDC {2}0x[0-9a-f]{16}…\n/)
  expect(text).toMatch(/GET \/none {2}404 {2}/)
  expect(text).toMatch(/GET \/throw {2}\d+ program_crashed .*Error: ouch, \[API_KEY\] \(index\.js:6:38\)/)
  expect(text).toContain('asked for /none\n')
  expect(text).toContain('the key is [API_KEY]\n')
  expect(text).not.toContain('open sesame')
  const told = await run(`call ${deployed.urls.alice}throw`)
  expect(told.stdout + told.stderr).toContain('ouch, [API_KEY]')
  expect(text).not.toContain('callers-secret')
})

test('what is searched for is found, by status and by text, and JSON is a line for each entry', async () => {
  const lines = (await read(' --status 4xx --json')).trim().split('\n')
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ kind: 'call', path: '/none', status: 404 }])
  const found = (await read(' --search OUCH')).trim().split('\n')
  expect(found.filter((line) => !line.includes('ouch'))).toEqual([])
  expect(found.length).toBeLessThan((await read()).split('\n').length - 1)
  expect(await read(' --search nothing-of-this')).toBe('')
  expect(await run(`logs ${deployed.cid} --provider bob --status 200`)).toMatchObject({
    exitCode: 0,
    stdout: '',
    stderr: expect.stringContaining('bob has nothing like that of this deployment so far.'),
  })
})

test('what was deployed from here is found at its first provider, the last version by its name', async () => {
  const text = await read()
  expect((await run('logs chatty')).stdout).toBe(text)
  expect((await run(`logs ${deployed.cid}`)).stdout).toBe(text)
})

test('who follows it hears of a call as it comes', async () => {
  const interrupt = new AbortController()
  const { promise: heard, resolve } = Promise.withResolvers<string>()
  const following = run(`logs ${deployed.cid} --provider bob -f`, {
    signal: interrupt.signal,
    onOut: (text) => text.includes('GET /followed') && resolve(text),
  })
  await run(`call ${deployed.urls.bob}followed`)
  await heard
  interrupt.abort(new DOMException('Interrupted.', 'AbortError'))
  expect((await following).exitCode).toBe(130)
})

test('nobody else reads it, and wrong flags are told', async () => {
  const codeOf = async (line: string) => /\((\w+)\)/.exec((await run(line)).stderr)?.[1]
  expect(await codeOf(`logs ${deployed.cid} --provider alice --account payer`)).toBe('signature_invalid')
  expect(await codeOf('logs bafknonsense --provider alice')).toBe('cid_malformed')
  expect(await codeOf('logs nonsense --provider alice')).toBe('version_unknown')
  expect(await codeOf('logs ../../config --provider alice')).toBe('version_unknown')
  const elsewhere = await run(`logs ${deployed.cid} --account payer`)
  expect(elsewhere.stderr).toMatch(
    /not deployed from here by 0x[\s\S]*--provider <name>[\s\S]*version_unknown/,
  )
  const bare = await fetch(new URL(`/_/logs/${deployed.cid}`, at.market.providers.alice.url))
  expect(bare.status).toBe(403)
  for (const flags of [' --provider alice --status 9xx', ' --provider alice --since soon'])
    expect((await run(`logs ${deployed.cid}${flags}`)).exitCode).toBe(2)
})
