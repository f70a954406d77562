import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import type { FleetNodeInput, FleetRules } from './fleet-node.ts'

export interface CallOptions {
  readonly method?: string
  readonly path?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface FleetAnswer {
  /** 0 where the connection broke. */
  readonly status: number
  readonly body: string
  readonly headers: IncomingMessage['headers']
}

/** A gateway of a fleet, in a process of its own. */
export interface FleetNode {
  readonly port: number
  readonly tunnel: string
  /** Where other gateways hand requests over, in a cluster. */
  readonly hopPort: number | undefined
  /** Says which other gateways there are. */
  tellOthers(tunnels: readonly string[]): Promise<void>
  /** Gives it other rules than those that hold where nobody says anything. */
  setRules(rules: FleetRules): Promise<void>
  /** What it counted, as Prometheus reads it. */
  metrics(): Promise<string>
  /** Ends it at once, without a word to anybody. */
  kill(): Promise<void>
  /** Calls a provider through it, or its own pages for an empty name. */
  call(name: string, options?: CallOptions): Promise<FleetAnswer>
}

/** Starts gateways that know each other, and the same providers. */
export async function startFleet(
  count: number,
  input: FleetNodeInput,
): Promise<{ readonly nodes: readonly FleetNode[] } & AsyncDisposable> {
  const children: ChildProcess[] = []
  const stop = async () => {
    await Promise.all(children.map(end))
  }
  const start = async (): Promise<FleetNode> => {
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'fleet-node.ts'), JSON.stringify(input)],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    )
    children.push(child)
    const lines = createInterface(child.stdout)
    const [line] = (await once(lines, 'line')) as [string]
    const { port, tunnel, hopPort } = JSON.parse(line) as Pick<FleetNode, 'port' | 'tunnel' | 'hopPort'>
    const ask = async (what: unknown): Promise<string> => {
      const told = once(lines, 'line')
      child.stdin.write(`${JSON.stringify(what)}\n`)
      return (await told)[0]
    }
    const tell = async (what: unknown): Promise<void> => void (await ask(what))
    return {
      port,
      tunnel,
      hopPort,
      tellOthers: tell,
      setRules: tell,
      metrics: async () => JSON.parse(await ask('metrics')),
      kill: () => end(child),
      call: (name, options = {}) => call({ port, name, ...options }),
    }
  }
  try {
    const nodes = await Promise.all(Array.from({ length: count }, start))
    for (const node of nodes) {
      await node.tellOthers(nodes.filter((other) => other !== node).map(({ tunnel }) => tunnel))
    }
    return { nodes, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

async function call({
  port,
  name,
  method = 'GET',
  path = '/',
  body,
  headers = {},
}: CallOptions & { readonly port: number; readonly name: string }): Promise<FleetAnswer> {
  try {
    const host = `${name === '' ? '' : `${name}.`}localhost:${port}`
    const options = { host: '127.0.0.1', port, method, path, agent: false, headers: { ...headers, host } }
    const request = httpRequest(options).end(body)
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const { statusCode: status = 0, headers: answered } = response
    return { status, headers: answered, body: (await buffer(response)).toString() }
  } catch {
    return { status: 0, headers: {}, body: '' }
  }
}
