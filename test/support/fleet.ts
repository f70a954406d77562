import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import type { FleetNodeInput } from './fleet-node.ts'

/** A gateway of a fleet, in a process of its own. */
export interface FleetNode {
  readonly port: number
  readonly tunnel: string
  /** Says which other gateways there are. */
  tellOthers(tunnels: readonly string[]): Promise<void>
  /** Ends it at once, without a word to anybody. */
  kill(): Promise<void>
  /** Calls a provider through it; a connection that breaks gives 0. */
  call(
    name: string,
    options?: { readonly method?: string; readonly path?: string },
  ): Promise<{ status: number; body: string }>
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
    const { port, tunnel } = JSON.parse(line) as { port: number; tunnel: string }
    return {
      port,
      tunnel,
      async tellOthers(tunnels) {
        const told = once(lines, 'line')
        child.stdin.write(`${JSON.stringify(tunnels)}\n`)
        await told
      },
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
}: {
  port: number
  name: string
  method?: string
  path?: string
}): Promise<{ status: number; body: string }> {
  try {
    const headers = { host: `${name}.localhost:${port}` }
    const request = httpRequest({ host: '127.0.0.1', port, method, path, agent: false, headers }).end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    return { status: response.statusCode ?? 0, body: (await buffer(response)).toString() }
  } catch {
    return { status: 0, body: '' }
  }
}
