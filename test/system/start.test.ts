import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { exampleNames } from '../../devnet/examples.ts'
import {
  isAlive,
  listProcessTree,
  root,
  startProcess,
  startScript,
  type TestProcess,
} from '../support/child-process.ts'
import { countAttemptsToLeave, mayUnshareNetwork, onLoopbackOnly } from '../support/namespaces.ts'
import { askUntil } from '../support/outage.ts'
import { answersTo, hasBubblewrap } from '../support/tools.ts'

/** `npm start` as a process in a directory of its own, from its first line to what it leaves behind. */

const address = /^0x[0-9a-fA-F]{40}$/
const cid = /^baf[a-z2-7]{50,}$/
const ready = 'Ctrl-C stops everything.'

async function createFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'khachapuri-start-'))
}

/** A directory for one test. */
async function useFolder(): Promise<string> {
  const folder = await createFolder()
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

const start = (cwd: string, ...flags: string[]) => startScript(['devnet/main.ts', ...flags], { cwd })

/** Where Go keeps what it has compiled: with that, a market has a native example, too. */
const goEnvironment = (): Readonly<Record<string, string>> =>
  answersTo('go', 'version')
    ? { GOCACHE: execFileSync('go', ['env', 'GOCACHE'], { encoding: 'utf8' }).trim() }
    : {}
const hasNativeExample = (await hasBubblewrap()) && answersTo('go', 'version')

/** The way that `npm start` goes: whatever Node is there brings the project's own. */
const withNode = (...flags: string[]) => [
  process.execPath,
  join(root, 'devnet/with-node.mjs'),
  'devnet/main.ts',
  ...flags,
]

describe('a market that is up', () => {
  let cwd: string
  let market: TestProcess
  let file: {
    readonly gateway: string
    readonly rpc: string
    readonly chainId: number
    readonly providers: Readonly<Record<string, { address: string; url: string }>>
    readonly deployments: Readonly<Record<string, { cid: string; urls: Record<string, string> }>>
  }

  beforeAll(async () => {
    cwd = await createFolder()
    market = await startScript(['devnet/main.ts', '--port', '0'], { cwd, env: goEnvironment() })
    await market.waitFor(ready)
    file = JSON.parse(await readFile(join(cwd, '.khachapuri/market.json'), 'utf8'))
  })
  afterAll(async () => {
    await market[Symbol.asyncDispose]()
    await rm(cwd, { recursive: true, force: true })
  })

  test('describes itself in market.json, for scripts and for the command line', () => {
    const url = (name: string) => expect.stringMatching(new RegExp(`^http://${name}\\.localhost:\\d+`))
    const deployment = {
      cid: expect.stringMatching(cid),
      program: expect.stringMatching(cid),
      urls: { alice: url('alice'), bob: url('bob') },
    }
    expect(file).toMatchObject({
      gateway: expect.stringMatching(/^http:\/\/localhost:\d+$/),
      rpc: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      chainId: 31_337,
      contracts: {
        usdc: expect.stringMatching(address),
        escrow: expect.stringMatching(address),
        registry: expect.stringMatching(address),
      },
      accounts: { developer: expect.stringMatching(address), payer: expect.stringMatching(address) },
      providers: {
        alice: { address: expect.stringMatching(address), url: url('alice') },
        bob: { address: expect.stringMatching(address), url: url('bob') },
      },
      deployments: Object.fromEntries(exampleNames.map((name) => [name, deployment])),
    })
  })

  test('keeps the accounts’ keys encrypted, and for this user only', async () => {
    const keystore = join(cwd, '.khachapuri/keystore')
    const names = await readdir(keystore)
    expect(names).toEqual(expect.arrayContaining(['developer.json', 'payer.json', 'password']))
    for (const name of names) expect((await stat(join(keystore, name))).mode & 0o077).toBe(0)
    expect(JSON.parse(await readFile(join(keystore, 'payer.json'), 'utf8'))).toHaveProperty(
      'crypto.ciphertext',
    )
  })

  test('prints lines to try that all work when pasted', async () => {
    const lines = market
      .stdout()
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line.startsWith('curl '))
    expect(lines.length).toBeGreaterThanOrEqual(exampleNames.length)
    const answers = await Promise.all(lines.map((line) => paste(`${line} --fail --silent --show-error`)))
    const answerOf = (name: string) =>
      answers[lines.findIndex((line) => line.includes(file.deployments[name]?.cid ?? 'none'))]
    expect(answerOf('factor')).toBe('2,2,2,3,5,5')
    expect(answerOf('markdown')).toContain('<!doctype html>')
    expect(JSON.parse(answerOf('csv-stats') ?? '')).toMatchObject({ rows: 365 })
    expect(JSON.parse(answerOf('greet') ?? '')).toMatchObject({ greeting: 'Guten Tag, Ada!' })
    const named = answers[lines.findIndex((line) => line.includes('http://greet.localhost:'))]
    expect(JSON.parse(named ?? '')).toMatchObject({ greeting: 'Guten Tag, Ada!' })
    if (hasNativeExample) expect(JSON.parse(answerOf('port-go') ?? '')).toMatchObject({ num: 600 })
    expect(lines.filter((line, i) => answers[i] === '' && !line.includes(' -o '))).toEqual([])
    expect((await readFile(join(cwd, 'small.png'))).subarray(1, 4).toString()).toBe('PNG')
    const call = market.stdout().match(/npx khachapuri (call .*)/)?.[1]
    expect(await paste(`${process.execPath} ${join(root, 'cli/bin.mjs')} ${call}`)).toContain('97')
  })

  test('is found by the command line, as are its accounts', async () => {
    const balance = await paste(`${process.execPath} ${join(root, 'cli/bin.mjs')} balance --json`)
    expect(JSON.parse(balance)).toMatchObject({ balanceUsdc: '80000000' })
  })

  test('shows a page of each provider, to people and to programs', async () => {
    for (const name of ['alice', 'bob']) {
      expect(JSON.parse(await paste(`curl -sf ${file.providers[name]?.url}/`))).toMatchObject({
        name,
        address: file.providers[name]?.address,
      })
      const page = await paste(`curl -sf -H 'Accept: text/html' ${file.providers[name]?.url}/`)
      expect(page).toContain(file.providers[name]?.address)
    }
  })

  test('leaves nothing behind when it is interrupted: no process, no port, no file, no key', async () => {
    const tree = await listProcessTree(market.pid)
    expect(tree.length).toBeGreaterThan(4)
    market.signal('SIGINT')
    expect(await market.ended).toBe(0)
    expect(market.stdout()).toContain('Stopping')
    await untilBuried(tree)
    expect(await readdir(join(cwd, '.khachapuri'))).toEqual([])
    for (const url of [file.gateway, file.rpc]) await expect(dial(url)).rejects.toThrow('ECONNREFUSED')
  })

  const paste = async (line: string): Promise<string> =>
    (
      await promisify(execFile)('sh', ['-c', line], {
        cwd,
        env: { PATH: process.env['PATH'], KHACHAPURI_HOME: join(cwd, '.home') },
      })
    ).stdout
})

const mayUnshare = await mayUnshareNetwork()

describe('npm start', () => {
  test('says that a port is taken before it does anything, and exits with 1', async () => {
    const cwd = await useFolder()
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { port } = server.address() as AddressInfo
    await using market = await start(cwd, '--port', String(port))
    expect(await market.ended).toBe(1)
    expect(market.output()).toContain(`Port ${port} is taken.`)
    expect(market.output()).toContain('npm start -- --port')
    expect(market.stdout()).toBe('')
    expect(await readdir(cwd)).toEqual([])
  })

  test('refuses a wrong flag with 2, and explains the right ones', async () => {
    const cwd = await useFolder()
    await using market = await start(cwd, '--prot', '1')
    expect(await market.ended).toBe(2)
    expect(market.output()).toContain('--port <n>')
    expect(await readdir(cwd)).toEqual([])
  })

  test('that is interrupted on the way up leaves nothing behind, and says so with 130', async () => {
    const cwd = await useFolder()
    await using market = await start(cwd, '--port', '0')
    await market.waitFor('Starting the providers')
    market.signal('SIGTERM')
    expect(await market.ended).toBe(130)
    expect(market.stdout()).not.toContain(ready)
    expect(await readdir(join(cwd, '.khachapuri'))).toEqual([])
  })

  test.skipIf(!mayUnshare)(
    '--once sends no packet beyond loopback and needs no registry (skipped where networks may not be unshared)',
    async () => {
      const cwd = await useFolder()
      await using market = await startProcess(onLoopbackOnly(withNode('--once', '--port', '0')), { cwd })
      expect({ ended: await market.ended, output: market.output() }).toMatchObject({ ended: 0 })
      for (const [provider, paidBy] of [
        ['alice', 'the owner of the deployment'],
        ['bob', 'a pass of the caller'],
        ['alice', 'a voucher, which covers this call and no more'],
        ['bob', 'x402 from a wallet'],
      ]) {
        const shown = `factor(600) = 2,2,2,3,5,5, paid by ${paidBy}; settled on chain: 0.0005 USDC`
        expect(market.stdout()).toContain(`${provider?.padEnd(10)}  ${shown}`)
      }
      expect(countAttemptsToLeave(market.stdout())).toBe(0)
      expect(await readdir(join(cwd, '.khachapuri'))).toEqual([])

      const call = "require('node:net').connect(80, '192.0.2.1').on('error', () => {})"
      await using leaver = await startProcess(onLoopbackOnly([process.execPath, '-e', call]), { cwd })
      await leaver.ended
      expect(countAttemptsToLeave(leaver.stdout())).toBe(1)
    },
  )
})

describe('the script that brings Node', () => {
  test('passes arguments and exit code on, and an interrupt that it alone hears', async () => {
    const cwd = await useFolder()
    await using wrong = await startProcess(withNode('--port', 'many'), { cwd })
    expect(await wrong.ended).toBe(2)
    await using market = await startProcess(withNode('--port', '0'), { cwd })
    await market.waitFor('Starting a chain')
    const tree = await listProcessTree(market.pid)
    market.signal('SIGINT')
    expect(await market.ended).toBe(130)
    await untilBuried(tree)
  })
})

/** Sandboxes die with their parent, a moment after it. */
async function untilBuried(tree: readonly number[]): Promise<void> {
  for (const pid of tree)
    await askUntil(
      () => isAlive(pid),
      (alive) => !alive,
    )
}

async function dial(url: string): Promise<void> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  await once(socket, 'connect')
  socket.destroy()
}
