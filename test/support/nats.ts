import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { answersTo } from './tools.ts'

/** Where the NATS server of this machine is; undefined without one. Debian keeps it where only root looks. */
export const natsServer: string | undefined = ['nats-server', '/usr/sbin/nats-server'].find((path) =>
  answersTo(path, '--version'),
)

/** Starts a NATS server with JetStream on a free port. */
export async function startNats(): Promise<{ readonly url: string } & AsyncDisposable> {
  const dir = await mkdtemp(join(tmpdir(), 'nats-'))
  const child = spawn(natsServer as string, ['-js', '-sd', dir, '-a', '127.0.0.1', '-p', '-1'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  const url = await new Promise<string>((resolve, reject) => {
    child.once('exit', () => reject(new Error(`nats-server ended: ${said}`)))
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
      const [, port] = /client connections on 127\.0\.0\.1:(\d+)/.exec(said) ?? []
      if (port !== undefined && said.includes('Server is ready')) resolve(`nats://127.0.0.1:${port}`)
    })
  })
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      await rm(dir, { recursive: true })
    },
  }
}
