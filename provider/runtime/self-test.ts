import { raceSignal } from '../../protocol/base/signal.ts'
import { limits } from '../../protocol/limits.ts'
import { collectAnswer } from './collect-answer.ts'
import { type Decoy, knockAndTell, openDecoy } from './decoy.ts'
import type { ProgramFiles, Runtime } from './runtime.ts'
import type { Sandbox } from './sandbox/sandbox.ts'

export interface SelfTestDeps {
  readonly sandbox: Sandbox
  readonly runtime: Pick<Runtime, 'start'>
  /** Whether programs may reach this machine because its operator wants that. */
  readonly isMachineOpen?: boolean
}

/**
 * Attacks what this provider would run strangers' programs in, from inside: with a program, and, where there are
 * namespaces, with a native process behind the same walls, as if the runtime had been taken over.
 *
 * @returns one sentence for every attack that succeeded; empty where everything held.
 */
export async function attackOurselves(deps: SelfTestDeps, signal: AbortSignal): Promise<readonly string[]> {
  await using decoy = await openDecoy()
  const findings = await Promise.all([
    deps.sandbox.walls.namespaces ? attackNatively(deps.sandbox, decoy, signal) : [],
    attackAsProgram(deps.runtime, decoy.port, signal),
    deps.isMachineOpen ? [] : attackThroughEgress(deps.runtime, decoy.port, signal),
    exhaustMemory(deps.runtime, signal),
    exhaustTime(deps.runtime, signal),
  ])
  const reached = decoy.connections > 0 ? ['A program reached a port of this machine.'] : []
  return [...findings.flat(), ...reached]
}

/** What a process does that has taken over the runtime; prints what succeeded. */
const nativeAttack = `
  const fs = require('fs'), net = require('net')
  const succeeded = []
  const attempt = (what, attack) => { try { attack(); succeeded.push(what) } catch {} }
  for (const path of ['/etc/passwd', '/etc/hostname', '/root', '/home', '/usr', '/proc/self/status', '/sys'])
    attempt('read ' + path, () => fs.statSync(path))
  for (const folder of ['', '/tmp', '/dev', '/dev/shm', '/run', '/lib', '/usr']) {
    attempt('write to ' + (folder || '/'), () => fs.mkdirSync(folder + '/attack'))
    attempt('make a file in ' + (folder || '/'), () => fs.closeSync(fs.openSync(folder + '/attack', 'w')))
  }
  for (const name of Object.keys(process.env)) if (name !== 'PWD') succeeded.push('see the variable ' + name)
  if (process.getuid() === 0) succeeded.push('be root')
  const { error } = require('child_process').spawnSync(process.execPath, ['--version'])
  if (!error) succeeded.push('start a process')
  const [port, socketName] = process.argv.slice(1)
  ${knockAndTell}
`

async function attackNatively(
  sandbox: Sandbox,
  { port, socketName }: Decoy,
  signal: AbortSignal,
): Promise<string[]> {
  const executable = await sandbox.prepare(process.execPath, signal)
  const args = () => ['-e', nativeAttack, String(port), socketName]
  await using cell = await sandbox.spawn({ executable, args }, signal)
  cell.stderr.resume()
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.selfTestMsMax)])
  const reading = raceSignal(cell.stdout.setEncoding('utf8').toArray(), deadline)
  const output = await reading.catch(() => {
    signal.throwIfAborted()
    return []
  })
  return readFindings(output.join(''), 'A native process in the sandbox')
}

/** What a program can try with the interfaces that it is given. */
const programAttack = `
import fs from 'node:fs'
import net from 'node:net'
export default {
  async fetch(request, env) {
    const { port } = env.params, succeeded = []
    const attempt = async (what, attack) => { try { await attack(); succeeded.push(what) } catch {} }
    await attempt('fetch from this machine', () => fetch('http://127.0.0.1:' + port + '/'))
    await attempt('connect to this machine', () => new Promise((resolve, reject) =>
      net.connect(port, '127.0.0.1', resolve).on('error', reject)))
    for (const path of ['/etc/passwd', '/proc/self/environ'])
      await attempt('read ' + path, () => fs.readFileSync(path))
    await attempt('make code from text', () => new Function('return 1')())
    if (Object.keys(env).join() !== 'params') succeeded.push('see what it was not given')
    return Response.json(succeeded)
  },
}
`

async function attackAsProgram(
  runtime: SelfTestDeps['runtime'],
  port: number,
  signal: AbortSignal,
): Promise<string[]> {
  const limits = { timeoutMs: 5_000, memoryMiB: 64 }
  await using instance = await runtime.start(
    toProgram(programAttack),
    { env: {}, params: { port }, limits },
    signal,
  )
  const { body } = await collectAnswer(instance, attackRequest)
  return readFindings(body.toString(), 'A program')
}

/** What a program can try whose deployment lists what nobody may reach. */
const egressAttack = `
import { connect } from 'cloudflare:sockets'
export default {
  async fetch(request, { params: { origins } }) {
    const succeeded = []
    for (const origin of origins) {
      const answer = await fetch(origin)
      const refused = ['egress_address_blocked', 'egress_name_unknown'].includes(answer.headers.get('khachapuri-egress'))
      if (!refused) succeeded.push('dial ' + origin)
      const { host } = new URL(origin)
      await connect(host).opened.then(() => succeeded.push('connect to ' + host), () => undefined)
    }
    return Response.json(succeeded)
  },
}
`

async function attackThroughEgress(
  runtime: SelfTestDeps['runtime'],
  port: number,
  signal: AbortSignal,
): Promise<string[]> {
  const hosts = ['127.0.0.1', 'localhost', '[::1]', '[::ffff:7f00:1]', '0.0.0.0', '169.254.169.254']
  const origins = hosts.map((host) => `http://${host}:${port}`)
  await using instance = await runtime.start(
    toProgram(egressAttack),
    { env: {}, params: { origins }, limits: { timeoutMs: 5_000, memoryMiB: 64, egress: origins } },
    signal,
  )
  const { body } = await collectAnswer(instance, attackRequest)
  return readFindings(body.toString(), 'A program with a network')
}

const memoryHog = `
const kept = []
export default {
  fetch() {
    for (let i = 0; i < 512; i++) kept.push(new Uint8Array(1 << 20).fill(1))
    return new Response()
  },
}
`

async function exhaustMemory(runtime: SelfTestDeps['runtime'], signal: AbortSignal): Promise<string[]> {
  const limits = { timeoutMs: 5_000, memoryMiB: 32 }
  await using instance = await runtime.start(toProgram(memoryHog), { env: {}, params: null, limits }, signal)
  const { outcome } = await collectAnswer(instance, attackRequest)
  return outcome.kind === 'out_of_memory' ? [] : ['A program took more memory than its limit.']
}

const attackRequest = { method: 'GET', target: '/', rawHeaders: ['host', 'self-test'] }

const endlessLoop = 'export default { fetch() { for (;;); } }'

async function exhaustTime(runtime: SelfTestDeps['runtime'], signal: AbortSignal): Promise<string[]> {
  const limits = { timeoutMs: 100, memoryMiB: 32 }
  await using instance = await runtime.start(
    toProgram(endlessLoop),
    { env: {}, params: null, limits },
    signal,
  )
  const { outcome } = await collectAnswer(instance, attackRequest)
  return outcome.kind === 'timeout' ? [] : ['A program ran on beyond its time.']
}

function toProgram(source: string): ProgramFiles {
  return { files: [{ path: 'attack.js', bytes: Buffer.from(source) }], entry: 'attack.js' }
}

/** What it printed; anything but a list means that the attack did not run, which proves nothing. */
function readFindings(text: string, who: string): string[] {
  try {
    const succeeded: unknown = JSON.parse(text)
    if (Array.isArray(succeeded)) return succeeded.map((what) => `${who} could ${String(what)}.`)
  } catch {
    // Told below.
  }
  return [`${who} could not be tried.`]
}
