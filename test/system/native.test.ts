import { execFileSync } from 'node:child_process'
import { chmod, cp, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startServing } from '../../cli/testing.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { canRunNatively, compile } from '../../provider/runtime/native/testing/compile.ts'
import { openOrigin } from '../support/http-origin.ts'
import { openMarket, type TestMarket } from '../support/market.ts'
import { answersTo } from '../support/tools.ts'

/** Native programs from the developer's folder to a paid call, and where they are refused. */
describe.skipIf(!canRunNatively)('native programs, where there is a C compiler and bubblewrap', () => {
  let at: TestMarket
  beforeAll(async () => {
    at = await openMarket({ native: { root: 'none' } })
    const bytes = compile('compliance.c')
    const wishing = { runtime: 'native', entry: 'echo', limits: { egress: ['http://api.example.test'] } }
    await writeProgram(at.user.dir, 'wishing', { echo: bytes }, { name: 'wishing', ...wishing })
    for (const native of ['cgi', 'http']) {
      const manifest = { name: `echo-${native}`, runtime: 'native', native, entry: 'echo' }
      await writeProgram(at.user.dir, native, { echo: bytes }, manifest)
    }
  })
  afterAll(() => at[Symbol.asyncDispose]())

  test.each(['cgi', 'http'])('one that answers by %s is deployed, called and paid', async (native) => {
    const { cid } = await at.deploy(native, '--provider', 'alice', '--provider', 'bob')
    const costs = await at.costsOf(async () => {
      for (const provider of ['alice', 'bob']) {
        const body = Buffer.alloc(300_000, native)
        const answer = await at.call({ provider, cid, path: '/a/b?c=1', body })
        expect(answer.status).toBe(200)
        expect(answer.header('x-target')).toBe('/a/b?c=1')
        expect(answer.body.equals(body)).toBe(true)
      }
    })
    expect(costs).toEqual({ paid: { developer: 1000n }, earned: { alice: 500n, bob: 500n } })
  })

  test('one with a network asks for what its deployment lists, and is refused this machine', async () => {
    await using origin = await openOrigin((_, response) => response.end('inside'))
    const manifest = { name: 'asking', runtime: 'native', entry: 'attacks', limits: { egress: [origin.url] } }
    await writeProgram(at.user.dir, 'asking', { attacks: compile('attacks.c') }, manifest)
    const { cid } = await at.deploy('asking')
    const ask = async (what: string) => (await at.call({ cid, path: `/?fetch=${what}` })).text
    expect(await ask(`${origin.url}/`)).toContain('egress_address_blocked')
    expect(await ask('http://other.example.test/')).toContain('egress_not_allowed')
    expect(origin.requests()).toBe(0)
  })

  test.skipIf(!answersTo('runsc', '--version') || process.getuid?.() !== 0)(
    'one runs in gVisor where the operator says so, where there is runsc; a server is refused there',
    async () => {
      const dora = await at.startProvider('dora', { native: { root: 'none', walls: 'runsc' } })
      expect(dora.info.runtimes).toContain('native')
      const grant = { provider: dora.address, priceUsdc: parseUsdc('0.0005'), budgetUsdc: parseUsdc('1') }
      const { account } = await at.createPayer({ name: 'payer of dora', grants: [grant] })
      const pass = await at.pass({ payer: account.address, providers: [dora.address] }, account)
      const flags = ['--provider', 'dora', '--payer', 'caller']
      const cgi = await at.deploy('cgi', ...flags)
      const answer = await at.call({
        provider: 'dora',
        cid: cgi.cid,
        pass,
        path: '/a?b',
        body: Buffer.from('sent'),
      })
      expect([answer.status, answer.header('x-target'), answer.text]).toEqual([200, '/a?b', 'sent'])
      // What it cannot do is told before anybody calls it.
      expect(dora.nativeEngine).toMatch(/^gVisor \S+ \(\w+\), root none; by cgi and without a network$/)
      for (const name of ['http', 'wishing']) {
        const result = await at.user.run(['deploy', name, ...flags, '--json'])
        expect(result.json()).toMatchObject({
          code: 'runtime_unavailable',
          detail: expect.stringContaining('dora: This provider runs native programs in gVisor: by cgi, and'),
        })
      }
    },
  )

  test('a provider that was not told to run them refuses, and nobody pays', async () => {
    await at.startProvider('carol')
    const { cid } = await at.deploy('cgi', '--public')
    const costs = await at.costsOf(async () => {
      const answer = await at.call({ provider: 'carol', cid })
      expect(answer.status).toBe(501)
      expect(answer.problem()).toMatchObject({ code: 'runtime_unavailable' })
    })
    expect(costs).toEqual({ paid: {}, earned: {} })
  })

  test('a script is refused where programs see nothing of the machine', async () => {
    const manifest = { name: 'script', runtime: 'native', entry: 'run.sh' }
    await writeProgram(at.user.dir, 'script', { 'run.sh': script }, manifest)
    const { cid } = await at.deploy('script')
    const answer = await at.call({ cid })
    expect(answer.problem()).toMatchObject({
      code: 'runtime_unavailable',
      detail: expect.stringContaining('/bin/sh'),
    })
    const { stdout } = await at.user.run(['logs', cid])
    expect(stdout).toMatch(/· It could not be started: "run\.sh" is started by \/bin\/sh, /)
  })

  test('a script runs where the operator shows it /usr', async () => {
    const manifest = { name: 'script', runtime: 'native', entry: 'run.sh' }
    await writeProgram(at.user.dir, 'script', { 'run.sh': script }, manifest)
    const { first, stop } = await startServing(at.user, ['run', 'script', '--native-root', 'usr'])
    const url = /http_url=(\S+)/.exec(first)?.[1] ?? ''
    const answer = await fetch(`${url}words?x`, { method: 'POST', body: 'three little words' })
    expect([answer.status, await answer.text()]).toEqual([200, 'POST /words 3\n'])
    await stop()
  })

  test('only a native program says how it answers', async () => {
    await writeProgram(at.user.dir, 'wrong', { 'a.js': 'x' }, { name: 'wrong', native: 'cgi', entry: 'a.js' })
    const result = await at.user.run(['build', 'wrong', '--json'])
    expect(result.json()).toMatchObject({
      code: 'program_invalid',
      detail: expect.stringContaining('native'),
    })
  })

  test.skipIf(!answersTo('go', 'version'))(
    'the example in Go, where there is Go, is ported by its wrapper',
    async () => {
      const folder = join(at.user.dir, 'port-go')
      await cp(join(import.meta.dirname, '../../examples/port-go'), folder, { recursive: true })
      execFileSync('sh', [join(folder, 'build.sh')], { stdio: 'pipe' })
      const { cid } = await at.deploy('port-go', '--provider', 'bob')
      const call = async (query: string) => {
        const { status, text } = await at.call({ provider: 'bob', cid, path: `/?${query}` })
        return [status, text]
      }
      const sample = (...args: string[]) =>
        execFileSync(join(folder, 'bin/sample'), args, { encoding: 'utf8', stdio: 'pipe' })
      expect(await call('num=600')).toEqual([200, sample('600')])
      expect(sample('600')).toBe('{"num":600,"factors":[2,2,2,3,5,5]}\n')
      expect(await call('num=9007199254740991')).toMatchObject([
        200,
        expect.stringContaining('[6361,69431,20394401]}'),
      ])
      expect(await call('num=x')).toEqual([400, 'num must be a whole number of 2 or more\n'])
    },
  )
})

const script = `#!/bin/sh
words=$(wc -w)
printf 'Content-Type: text/plain\\n\\n%s %s %s\\n' "$REQUEST_METHOD" "$PATH_INFO" "$words"
`

async function writeProgram(
  dir: string,
  name: string,
  files: Readonly<Record<string, string | Uint8Array>>,
  manifest: object,
): Promise<void> {
  await mkdir(join(dir, name), { recursive: true })
  for (const [path, bytes] of Object.entries(files)) {
    await writeFile(join(dir, name, path), bytes)
    await chmod(join(dir, name, path), 0o755)
  }
  await writeFile(join(dir, name, 'khachapuri.json'), JSON.stringify(manifest))
}
