import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'

/** A process that a test started: what it says, and how it ends. */
export interface TestProcess extends AsyncDisposable {
  readonly pid: number
  /** Standard output so far. */
  stdout(): string
  /** Both streams so far. */
  output(): string
  /** Resolves once standard output holds `text`. @throws where the process ends before, with what it said */
  waitFor(text: string): Promise<void>
  signal(name: NodeJS.Signals): void
  /** How it ended: an exit code, or the name of a signal. */
  readonly ended: Promise<number | NodeJS.Signals>
}

export interface ProcessOptions {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
}

export const root = join(import.meta.dirname, '..', '..')

/** Starts a program with nothing of this process's environment but the path. Disposal kills it. */
export async function startProcess(
  [command = '', ...args]: readonly string[],
  { cwd, env = {} }: ProcessOptions,
): Promise<TestProcess> {
  const child = spawn(command, args, {
    cwd,
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  await once(child, 'spawn')
  return observe(child)
}

/** Starts one of the project's scripts with this very Node. */
export function startScript(
  [script = '', ...args]: readonly string[],
  options: ProcessOptions,
): Promise<TestProcess> {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning']
  return startProcess([...node, join(root, script), ...args], options)
}

function observe(child: ChildProcess): TestProcess {
  let stdout = ''
  let output = ''
  const waiting = new Set<() => void>()
  const hear = (text: string) => {
    output += text
    for (const look of waiting) look()
  }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    hear(text)
  })
  child.stderr?.setEncoding('utf8').on('data', hear)
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals)
  return {
    pid: child.pid as number,
    stdout: () => stdout,
    output: () => output,
    async waitFor(text) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const look = () => stdout.includes(text) && resolve()
      waiting.add(look)
      look()
      const end = await Promise.race([promise, ended])
      waiting.delete(look)
      if (end !== undefined && !stdout.includes(text)) throw new Error(`Ended with ${end}:\n${output}`)
    },
    signal: (name) => void child.kill(name),
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** The process and everything that it started. */
export async function listProcessTree(pid: number): Promise<readonly number[]> {
  const parents = new Map<number, number>()
  for (const name of await readdir('/proc')) {
    const stat = /^\d+$/.test(name) ? await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '') : ''
    // The name of a program may hold anything; behind its last parenthesis come state and parent.
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state !== undefined && state !== 'Z') parents.set(Number(name), Number(parent))
  }
  const tree = [pid]
  for (const member of tree) {
    for (const [child, parent] of parents) if (parent === member) tree.push(child)
  }
  return tree
}

/** Whether a process with this id is there and not only waits to be buried. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat !== '' && !stat.slice(stat.lastIndexOf(')')).startsWith(') Z')
}

/** The TCP and UDP ports at which a process takes what comes, as its network namespace lists them. */
export async function listListeningPorts(pid: number): Promise<readonly number[]> {
  const inodes = new Set<string>()
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    const [, inode] = /^socket:\[(\d+)\]$/.exec(await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')) ?? []
    if (inode !== undefined) inodes.add(inode)
  }
  const ports: number[] = []
  for (const [table, listening] of [
    ['tcp', '0A'],
    ['tcp6', '0A'],
    ['udp', '07'],
    ['udp6', '07'],
  ]) {
    const [, ...rows] = (await readFile(`/proc/${pid}/net/${table}`, 'utf8')).trim().split('\n')
    for (const row of rows) {
      const [, local = '', , state, , , , , , inode = ''] = row.trim().split(/\s+/)
      if (state === listening && inodes.has(inode)) ports.push(Number.parseInt(local.split(':')[1] ?? '', 16))
    }
  }
  return ports
}
