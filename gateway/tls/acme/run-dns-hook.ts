import { spawn } from 'node:child_process'
import { KiB } from '../../../protocol/base/bytes.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'

export interface DnsRecord {
  /** Such as `_acme-challenge.market.example`. */
  readonly name: string
  /** Of a TXT record. One name may have several. */
  readonly value: string
}

const saidBytesMax = 1 * KiB

/**
 * Runs the operator's command, `<command> add|remove <name> <value>`, without a shell. `add` must not end before the record
 * can be looked up: the authority looks once it has.
 *
 * @throws ProtocolError `config_invalid` for a command that cannot be run, `certificate_unavailable` for one that fails
 */
export async function runDnsHook(
  [command = '', ...words]: readonly string[],
  action: 'add' | 'remove',
  { name, value }: DnsRecord,
  timeoutMs: number = limits.acmeHookTimeoutMs,
): Promise<void> {
  // A group of its own, so that what the command has started ends with it.
  const child = spawn(command, [...words, action, name, value], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  })
  let said = ''
  child.stderr.setEncoding('utf8')
  child.stderr.on('data', (text: string) => {
    if (said.length < saidBytesMax) said += text.slice(0, saidBytesMax - said.length)
  })
  let isLate = false
  const late = setTimeout(() => {
    isLate = true
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  }, timeoutMs)
  try {
    const end = await new Promise<string | number | null>((resolve, reject) => {
      child.once('error', (cause: NodeJS.ErrnoException) => reject(notRunnable(command, cause)))
      child.once('exit', (code, signal) => resolve(code ?? signal))
    })
    if (isLate) throw failed(`took more than ${timeoutMs} ms`, said)
    if (end !== 0) throw failed(`ended with ${end}`, said)
  } finally {
    clearTimeout(late)
    child.stderr.destroy()
  }
}

function notRunnable(command: string, cause: NodeJS.ErrnoException): ProtocolError {
  return new ProtocolError('config_invalid', `The DNS hook ${command} cannot be run: ${cause.code}.`, {
    hint: 'Give its path, and make it executable.',
    cause,
  })
}

function failed(how: string, said: string): ProtocolError {
  const words = said.trim() === '' ? '' : ` It said: ${said.trim()}`
  return new ProtocolError('certificate_unavailable', `The DNS hook ${how}.${words}`, {
    hint: 'Run it by hand: <hook> add _acme-challenge.<domain> <value>.',
  })
}
