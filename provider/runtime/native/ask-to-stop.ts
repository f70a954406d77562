import { tryRead } from '../sandbox/files.ts'

/**
 * Sends SIGTERM to the program in a sandbox, which is the only child of the process that bubblewrap has there.
 *
 * @param sandboxPid - That process, by the host's number.
 */
export function askToStop(sandboxPid: number): void {
  const children = tryRead(`/proc/${sandboxPid}/task/${sandboxPid}/children`) ?? ''
  const [program] = children.split(' ').filter(Boolean)
  if (program === undefined) return
  try {
    process.kill(Number(program), 'SIGTERM')
  } catch {
    // It ended by itself meanwhile.
  }
}
