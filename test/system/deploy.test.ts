import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Deployed, openMarket, type TestMarket } from '../support/market.ts'

/** KH-3, CA-1, CA-2, CA-3: what a program is called, by whoever computes it, and whoever lies about it. */

const run = promisify(execFile)
const cli = join(import.meta.dirname, '..', '..', 'cli', 'main.ts')

let at: TestMarket
beforeAll(async () => {
  at = await openMarket()
  await at.user.run(['init', 'app'])
})
afterAll(() => at[Symbol.asyncDispose]())

interface Ids {
  readonly program: string
  readonly programDigest: string
  readonly programId: string
}

/** The command line as a process, so that its environment is its own. */
const khachapuri = (argv: readonly string[], env: Readonly<Record<string, string>> = {}, cwd = at.user.dir) =>
  run(process.execPath, [cli, ...argv], {
    cwd,
    env: { PATH: process.env['PATH'], HOME: at.user.dir, ...env },
  })

describe('building', () => {
  test('the same tree elsewhere, later and in another time zone gives the same bytes', async () => {
    const { dir } = at.user
    await mkdir(join(dir, 'elsewhere', 'deep'), { recursive: true })
    await cp(join(dir, 'app'), join(dir, 'elsewhere', 'deep', 'app'), { recursive: true })
    const source = join(dir, 'elsewhere', 'deep', 'app', 'src', 'index.ts')
    await utimes(source, new Date('2001-02-03'), new Date('2001-02-03'))
    await khachapuri(['build', 'app', '-o', join(dir, 'a.zip')], { TZ: 'UTC', LANG: 'C' })
    await khachapuri(
      ['build', '-o', join(dir, 'b.zip')],
      { TZ: 'Asia/Tbilisi', LANG: 'tr_TR.UTF-8' },
      join(dir, 'elsewhere', 'deep', 'app'),
    )
    const [a, b] = [await readFile(join(dir, 'a.zip')), await readFile(join(dir, 'b.zip'))]
    expect(a.equals(b)).toBe(true)
    const ids = (await at.user.run(['id', 'a.zip', '--json'])).json<Ids & Record<string, unknown>>()
    expect((await at.user.run(['id', 'b.zip', '--json'])).json()).toEqual(ids)
  })

  test('the ids are those that shell tools compute, and that the provider tells', async () => {
    await at.user.run(['build', 'app', '-o', 'app.zip'])
    const ids = (await at.user.run(['id', 'app.zip', '--json'])).json<Ids & Record<string, unknown>>()
    const digest = (await run('sha256sum', ['app.zip'], { cwd: at.user.dir })).stdout.split(' ')[0]
    expect(ids.programDigest).toBe(`0x${digest}`)
    // The lines that "khachapuri id --help" shows.
    const script = [
      `params=$(printf '{}' | sha256sum | cut -d' ' -f1)`,
      `printf "$(sha256sum < app.zip | cut -d' ' -f1)$params" | tr a-f A-F | basenc -d --base16 | sha256sum | cut -d' ' -f1`,
    ].join('\n')
    const computed = (await run('sh', ['-c', script], { cwd: at.user.dir })).stdout.trim()
    expect(ids.programId).toBe(`0x${computed}`)
    const { cid, program, programId } = await at.deploy('app.zip')
    expect({ program, programId }).toEqual({ program: ids.program, programId: ids.programId })
    expect((await at.call({ path: `/_/d/${cid}` })).json()).toMatchObject({
      deployment: cid,
      program,
      programId,
    })
  })

  test('other params make another program of the same zip, however their JSON is written', async () => {
    const deploy = (params: string) => at.deploy('app', '--public', '--params', params)
    const [ba, ab, other]: Deployed[] = [
      await deploy('{"b":1,"a":2}'),
      await deploy('{ "a": 2.0,\n "b": 1e0 }'),
      await deploy('{"b":1,"a":3}'),
    ]
    expect(ab?.programId).toBe(ba?.programId)
    expect(other?.programId).not.toBe(ba?.programId)
    expect(new Set([ba, ab, other].map((one) => one?.program)).size).toBe(1)
    for (const one of [ba, ab, other]) {
      const said = (await at.call({ path: `/_/d/${one?.cid}` })).json()
      expect(said['programId']).toBe(one?.programId)
    }
  })
})

describe('a deployment', () => {
  test('does not depend on the developer: what was published stays callable without the files', async () => {
    await at.user.run(['init', 'gone'])
    const { cid } = await at.deploy('gone', '--provider', 'bob')
    await rename(join(at.user.dir, 'gone'), join(at.user.dir, 'moved'))
    await expect(stat(join(at.user.dir, 'gone'))).rejects.toThrow()
    expect((await at.call({ provider: 'bob', cid, path: '/hello?name=Ada' })).json()).toEqual({
      greeting: 'Hello, Ada!',
    })
  })

  test('of TypeScript with a package is bundled, and a source that does not parse publishes nothing', async () => {
    const dir = join(at.user.dir, 'typed')
    await at.user.run(['init', 'typed'])
    await writeFile(join(dir, 'src', 'twice.ts'), 'export const twice = (n: number): number => n * 2')
    await writeFile(
      join(dir, 'src', 'index.ts'),
      `import { twice } from './twice.ts'
       export default { fetch: (request: Request): Response => new Response(String(twice(21))) }`,
    )
    expect((await at.call({ cid: (await at.deploy('typed')).cid })).text).toBe('42')
    await writeFile(join(dir, 'src', 'index.ts'), 'export default {')
    const { exitCode, json } = await at.user.run(['deploy', 'typed', '--provider', 'alice', '--json'])
    expect([exitCode, json()['code']]).toEqual([1, 'program_invalid'])
    expect(json()).not.toHaveProperty('cid')
  })
})

test('a program runs without chain, store and money, says where in words for scripts, and stops at Ctrl-C', async () => {
  const { programId } = (await at.user.run(['build', 'app', '--json'])).json<Ids & Record<string, unknown>>()
  const running = spawn(process.execPath, [cli, 'run', 'app'], {
    env: { PATH: process.env['PATH'], HOME: at.user.dir },
    cwd: at.user.dir,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const exited = once(running, 'exit')
  onTestFinished(() => void running.kill('SIGKILL'))
  let out = ''
  for await (const chunk of running.stdout.iterator({ destroyOnReturn: false })) {
    out += chunk
    if (out.includes('http_url=') && out.endsWith('\n')) break
  }
  const facts = Object.fromEntries(
    out
      .trim()
      .split('\n')
      .map((line) => line.split('=', 2)),
  )
  expect(facts).toEqual({
    program_id: programId,
    http_url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/$/),
  })
  expect(await (await fetch(`${facts['http_url']}hello?x=1`)).json()).toEqual({ greeting: 'Hello, world!' })
  running.kill('SIGINT')
  expect(await exited).toEqual([0, null])
})

test('a provider that lies about what it runs is caught, with what it said and what is true', async () => {
  await using lying = await openMarket({ fault: 'wrong-id' })
  await lying.user.run(['init', 'app'])
  const { programId } = (await lying.user.run(['build', 'app', '--json'])).json<
    Ids & Record<string, unknown>
  >()
  const { exitCode, stdout, stderr } = await lying.user.run(['deploy', 'app', '--provider', 'alice'])
  expect(exitCode).toBe(1)
  expect(stdout).toBe('')
  expect(stderr).toContain(programId)
  expect(stderr).toContain(`0x${'00'.repeat(32)}`)
})

test('a key never stands in the list of processes: it comes from a file, the environment or standard input', async () => {
  const { privateKey, account } = at.dev.accounts.payer
  const { dir } = at.user
  const deposit = run(process.execPath, [cli, 'deposit', '0.10 USDC', '--key-stdin', '--yes', '--json'], {
    cwd: dir,
    env: { PATH: process.env['PATH'], HOME: dir },
  })
  deposit.child.stdin?.end(privateKey)
  const commandLine = await readFile(`/proc/${deposit.child.pid}/cmdline`, 'utf8')
  const { stdout } = await deposit
  expect(commandLine).toContain('deposit')
  expect(commandLine).not.toContain(privateKey.slice(2, 12))
  expect(JSON.parse(stdout)).toMatchObject({ amountUsdc: '100000', account: account.address })
  const inArgv = await at.user.run(['deposit', '1', '--key', privateKey, '--yes', '--json'])
  expect([inArgv.exitCode, inArgv.json()['code']]).toEqual([2, 'usage_invalid'])
  expect(inArgv.stdout + inArgv.stderr).not.toContain(privateKey.slice(2, 12))
})

test('amounts are read with and without their unit, and printed with it', async () => {
  const account = ['--account', 'payer', '--yes']
  for (const amount of ['0.10 USDC', '0.1', '0.100000usdc']) {
    const { exitCode, stdout } = await at.user.run(['deposit', amount, ...account])
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining('Deposited 0.1 USDC')])
  }
  for (const amount of ['0.0000001', '-1', '1e3', '1,5', 'USDC', '']) {
    const { exitCode, json } = await at.user.run(['deposit', amount, ...account, '--json'])
    expect([amount, exitCode, json()['code']]).toEqual([amount, 2, 'usage_invalid'])
  }
})
