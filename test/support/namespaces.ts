import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const marker = '── network counters'

/**
 * A command in a network that has nothing but loopback; what it starts is in there, too. It ends as the command does,
 * and then prints the kernel's counters, for `countAttemptsToLeave`.
 */
export const onLoopbackOnly = (command: readonly string[]): readonly string[] => [
  'unshare',
  '--net',
  'sh',
  '-c',
  `ip link set lo up || exit 99
  "$@"
  code=$?
  echo "${marker}"
  cat /proc/net/snmp /proc/net/snmp6
  exit $code`,
  'sh',
  ...command,
]

/** How often something in there tried to send or connect to an address that is not this machine's. */
export function countAttemptsToLeave(stdout: string): number {
  const lines = stdout.slice(stdout.indexOf(marker)).split('\n')
  const [names = [], values = []] = lines
    .filter((line) => line.startsWith('Ip: '))
    .map((line) => line.split(' '))
  const attempts4 = values[names.indexOf('OutNoRoutes')]
  const [, attempts6] = lines.find((line) => line.startsWith('Ip6OutNoRoutes'))?.split(/\s+/) ?? []
  return Number(attempts4) + Number(attempts6)
}

/** Whether this user may make such networks. */
export async function mayUnshareNetwork(): Promise<boolean> {
  const [command = '', ...args] = onLoopbackOnly(['true'])
  try {
    await promisify(execFile)(command, args)
    return true
  } catch {
    return false
  }
}
