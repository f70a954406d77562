import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findFreePort, findOnPath } from '../peers.ts'
import { startProcess } from '../processes.ts'
import { toWay } from './peer-way.ts'
import type { TunnelWay, WayOptions } from './setup.ts'

const run = promisify(execFile)

/**
 * `ssh -R` to an sshd of its own, as the user who runs the bench, with keys and settings of its own: nothing of the machine's
 * is read or changed.
 *
 * @returns why there is none, in words, where it is not installed
 */
export async function startSsh(
  { origin, relay, dir, cores }: WayOptions & { readonly dir: string },
  signal: AbortSignal,
): Promise<TunnelWay | { readonly skipped: string }> {
  const sshd = await findOnPath('sshd')
  const ssh = await findOnPath('ssh')
  if (sshd === undefined || ssh === undefined) return { skipped: 'ssh -R: sshd is not installed here' }
  await using starting = new AsyncDisposableStack()
  const [bindPort, publicPort] = [await findFreePort(), await findFreePort()]
  const folder = join(dir, 'ssh')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  // sshd of root wants an empty folder, which a service manager makes where there is one.
  if (userInfo().uid === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 })
  const [hostKey, userKey] = [join(folder, 'host_key'), join(folder, 'user_key')]
  for (const key of [hostKey, userKey])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key], { signal })
  const serverConfig = join(folder, 'sshd_config')
  await writeFile(
    serverConfig,
    `ListenAddress 127.0.0.1
Port ${bindPort}
HostKey ${hostKey}
AuthorizedKeysFile ${userKey}.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxSessions 10
LogLevel ERROR
`,
  )
  const server = starting.use(
    await startProcess(
      { command: sshd, args: ['-D', '-e', '-f', serverConfig], cores, ready: { port: bindPort } },
      signal,
    ),
  )
  await relay?.leadTo(bindPort)
  const clientArgs = [
    ...['-F', 'none', '-N', '-i', userKey, '-p', String(relay?.port ?? bindPort)],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR'],
    ...['-o', 'IdentitiesOnly=yes', '-o', 'ExitOnForwardFailure=yes', '-o', 'ServerAliveInterval=15'],
    ...['-R', `127.0.0.1:${publicPort}:127.0.0.1:${origin.port}`, `${userInfo().username}@127.0.0.1`],
  ]
  const client = starting.use(
    await startProcess({ command: ssh, args: clientArgs, ready: { port: publicPort } }, signal),
  )
  const { stderr } = await run(ssh, ['-V'], { signal })
  const name = `ssh -R (${stderr.split(/[ ,]/)[0]})`
  return toWay({ name, publicPort, server, client, origin, starting, host: undefined })
}
