import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import program from './src/index.ts'

const secret = 'a secret of thirty-two characters'
const manifest = JSON.parse(await readFile(new URL('khachapuri.json', import.meta.url), 'utf8'))

function send(path: string, { body, env }: { body?: unknown; env?: object } = {}) {
  const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }
  const request = new Request(new URL(path, 'http://alice.localhost'), init)
  return program.fetch(request, env ?? { GREETING_SECRET: secret, params: manifest.params })
}

const hmac = (greeting: string) => createHmac('sha256', secret).update(greeting).digest('base64url')

test('a greeting carries the HMAC-SHA-256 of itself under the secret, and not the secret', async () => {
  const response = await send('/hello?name=Ada')
  const text = await response.text()
  expect(response.status).toBe(200)
  expect(JSON.parse(text)).toEqual({ greeting: 'Hello, Ada!', signature: hmac('Hello, Ada!') })
  expect(text).not.toContain(secret)
})

test.each([
  ['de', 'Guten Tag, Ada!'],
  ['ka', 'გამარჯობა, Ada!'],
])('the public params decide what it says in %s', async (language, greeting) => {
  const response = await send(`/hello?name=Ada&language=${language}`)
  expect(await response.json()).toEqual({ greeting, signature: hmac(greeting) })
})

test('what it signed it verifies, and nothing else', async () => {
  const signed = (await (await send('/hello?name=Zo%C3%AB')).json()) as object
  const check = async (body: object, env?: object) =>
    (await send('/verify', env === undefined ? { body } : { body, env })).json()
  expect(await check(signed)).toEqual({ valid: true })
  expect(await check({ ...signed, greeting: 'Hello, Eve!' })).toEqual({ valid: false })
  expect(await check({ ...signed, signature: hmac('Hello, Eve!') })).toEqual({ valid: false })
  expect(await check({ ...signed, signature: '' })).toEqual({ valid: false })
  expect(await check(signed, { GREETING_SECRET: 'another secret, as long' })).toEqual({ valid: false })
})

test('the sample verifies under the secret that the README uses', async () => {
  const sample = JSON.parse(await readFile(new URL('sample.json', import.meta.url), 'utf8'))
  const response = await send('/verify', {
    body: sample,
    env: { GREETING_SECRET: 'correct horse battery staple' },
  })
  expect(await response.json()).toEqual({ valid: true })
})

test.each([
  [{}, 'is not set'],
  [{ GREETING_SECRET: 'short' }, 'has fewer than 16 characters'],
])('without a usable secret it says so, and signs nothing', async (env, state) => {
  for (const response of [
    await send('/hello?name=Ada', { env }),
    await send('/verify', { body: { greeting: 'Hello, Ada!', signature: hmac('Hello, Ada!') }, env }),
  ]) {
    expect(response.status).toBe(500)
    expect(await response.json()).toEqual({
      error: `The program cannot sign: its secret GREETING_SECRET ${state}.`,
      hint: 'Its owner puts GREETING_SECRET=… into .env and deploys it again.',
    })
  }
})

test.each([
  ['/hello', 'name'],
  ['/hello?name=%20', 'name'],
  ['/hello?name=a%0Ab', 'name'],
  [`/hello?name=${'x'.repeat(101)}`, 'name'],
  ['/hello?name=Ada&language=tlh', 'language'],
  ['/hello?name=Ada&language=constructor', 'language'],
])('%s is refused, naming the field', async (path, field) => {
  const response = await send(path)
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ field })
})

test.each([
  [{ signature: 'AAAA' }, 'greeting'],
  [{ greeting: 'Hello, Ada!' }, 'signature'],
  [{ greeting: 'Hello, Ada!', signature: '+/+/' }, 'signature'],
  [{ greeting: 'Hello, Ada!', signature: 'A' }, 'signature'],
  [[], undefined],
  ['x'.repeat(5000), undefined],
])('a verification of %j is refused', async (body, field) => {
  const response = await send('/verify', { body })
  expect(response.status).toBe(400)
  expect(((await response.json()) as { field?: string }).field).toBe(field)
})

test('other paths and methods have their own status', async () => {
  expect((await send('/')).status).toBe(404)
  const wrongMethod = await send('/verify')
  expect([wrongMethod.status, wrongMethod.headers.get('allow')]).toEqual([405, 'POST'])
})
