import { afterAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import type { Egress } from '../../protocol/egress.ts'
import { limits } from '../../protocol/limits.ts'
import { createNativeRuntime } from '../../provider/runtime/native/native-runtime.ts'
import { canRunNatively, compile } from '../../provider/runtime/native/testing/compile.ts'
import type { Instance } from '../../provider/runtime/runtime.ts'
import { createNames } from '../support/egress.ts'
import { openOrigin } from '../support/http-origin.ts'
import { sendCall } from '../support/send-call.ts'
import { answersTo } from '../support/tools.ts'

const never = new AbortController().signal
const canCurl = canRunNatively && answersTo('curl', '--version')

/** A native program reaches what its deployment lists through the proxy of its provider, and nothing else. */
describe.skipIf(!canRunNatively)('a native program, where there is a C compiler and bubblewrap', () => {
  const bytes = canRunNatively ? compile('attacks.c') : new Uint8Array()
  const runtimes = new AsyncDisposableStack()
  afterAll(() => runtimes.disposeAsync())

  async function open({ allowPrivate = true, root = 'none' as 'none' | 'usr' } = {}) {
    const names = createNames()
    const runtime = runtimes.use(
      await createNativeRuntime(
        { clock: systemClock, log: createTestLog(), network: { lookup: names.lookup, allowPrivate } },
        { root, zygotes: 1 },
        never,
      ),
    )
    const start = (egress: Egress, { server }: { server?: string } = {}): Promise<Instance> =>
      runtime.start(
        { files: [{ path: 'attacks', bytes }], entry: 'attacks', native: server ? 'http' : 'cgi' },
        {
          env: server ? { SERVER: server } : {},
          params: null,
          limits: { memoryMiB: 64, timeoutMs: 10_000, egress },
        },
        never,
      )
    return { names, runtime, start }
  }
  const opened = canRunNatively ? open() : undefined

  const fetched = async (program: Instance, what: string) => {
    const { body, outcome } = await sendCall(program, { target: `/?fetch=${what}` })
    expect(outcome).toEqual({ kind: 'answered' })
    return body.toString()
  }
  const codeOf = (answer: string) => /^khachapuri-egress: (\S+)\r$/im.exec(answer)?.[1]

  test.each([undefined, 'fetch'])(
    'reaches what is listed, and that is counted (server: %s)',
    async (server) => {
      await using origin = await openOrigin(({ url }, response) => response.end(`at ${url}`))
      await using other = await openOrigin((_, response) => response.end('other'))
      const url = `http://api.example.test:${origin.port}`
      const { start } = await opened!
      await using program = await start([url], server === undefined ? {} : { server })
      expect(await fetched(program, `${url}/a`)).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nat \/a$/s)
      expect(await fetched(program, `api.example.test:${origin.port}`)).toContain('at /tunnelled')
      expect(codeOf(await fetched(program, `${other.url}/`))).toBe('egress_not_allowed')
      expect(codeOf(await fetched(program, `127.0.0.1:${other.port}`))).toBe('egress_not_allowed')
      expect([origin.requests(), other.requests()]).toEqual([2, 0])
      expect(program.usage().egress).toMatchObject({ requests: 2 })
      expect(program.usage().egress?.receivedBytes).toBeGreaterThan(100)
    },
  )

  test('reaches nothing without a list, not even by the door of another', async () => {
    await using origin = await openOrigin((_, response) => response.end('here'))
    const { start } = await opened!
    await using neighbour = await start([origin.url], { server: 'fetch' })
    await using program = await start('none')
    expect(await fetched(neighbour, `${origin.url}/`)).toContain('here')
    expect(await fetched(program, `${origin.url}/`)).toBe('no proxy\n')
  })

  test('holds nothing of what its door was made with', async () => {
    const { start } = await opened!
    await using program = await start(['http://api.example.test'])
    expect((await sendCall(program, { target: '/?files' })).body.toString()).toBe('contained\n')
  })

  test('reaches no address that a name turns to', async () => {
    await using origin = await openOrigin((_, response) =>
      response.setHeader('connection', 'close').end('here'),
    )
    const url = `http://rebind.example.test:${origin.port}`
    const { start, names } = await opened!
    names.set('rebind.example.test', ['127.0.0.1'], ['169.254.169.254'])
    await using program = await start([url])
    expect(await fetched(program, `${url}/`)).toContain('here')
    expect(codeOf(await fetched(program, `${url}/`))).toBe('egress_address_blocked')
    expect(codeOf(await fetched(program, `rebind.example.test:${origin.port}`))).toBe(
      'egress_address_blocked',
    )
    expect(origin.requests()).toBe(1)
  })

  test('reaches nothing of this machine under a public policy', async () => {
    const { start, names } = await open({ allowPrivate: false })
    names.set('public.example.test', ['127.0.0.1'])
    await using program = await start('public')
    for (const what of ['http://127.0.0.1/', 'http://public.example.test/', 'public.example.test:443'])
      expect(codeOf(await fetched(program, what)), what).toBe('egress_address_blocked')
  })

  test('that fails because it was refused more is told apart, and the next call begins anew', async () => {
    await using origin = await openOrigin((_, response) => response.end('here'))
    const { start } = await opened!
    await using program = await start([origin.url])
    const { outcome } = await sendCall(program, { target: `/?fetch-greedily=${origin.url}/` })
    expect(outcome).toMatchObject({ kind: 'egress_exceeded' })
    expect(origin.requests()).toBe(limits.egressRequestsPerCallMax)
    expect(await fetched(program, `${origin.url}/`)).toContain('here')
  })

  test.skipIf(!canCurl)('finds its proxy where every tool looks for one, where there is curl', async () => {
    await using origin = await openOrigin((_, response) => response.end('for curl'))
    // Its own address is what it may go to without a proxy.
    const url = `http://api.example.test:${origin.port}`
    const { runtime } = await open({ root: 'usr' })
    const script = `#!/bin/sh\nprintf '\\n'\nexec curl -s "$QUERY_STRING"\n`
    await using program = await runtime.start(
      { files: [{ path: 'run.sh', bytes: Buffer.from(script) }], entry: 'run.sh' },
      { env: {}, params: null, limits: { memoryMiB: 64, timeoutMs: 10_000, egress: [url] } },
      never,
    )
    expect((await sendCall(program, { target: `/?${url}/` })).body.toString()).toBe('for curl')
  })
})
