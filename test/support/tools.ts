import { execFile, execFileSync } from 'node:child_process'
import { promisify } from 'node:util'

/** Whether bubblewrap is installed and may create its namespaces on this machine. */
export async function hasBubblewrap(): Promise<boolean> {
  try {
    await promisify(execFile)('bwrap', ['--unshare-all', '--ro-bind', '/', '/', 'true'])
    return true
  } catch {
    return false
  }
}

/** Whether a command is there and answers. */
export function answersTo(command: string, ...args: readonly string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
