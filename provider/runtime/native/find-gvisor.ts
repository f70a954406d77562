import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { ProtocolError } from '../../../protocol/errors.ts'
import { findCommand } from '../sandbox/executable.ts'

const run = promisify(execFile)

/** gVisor as it is installed here. */
export interface FoundGvisor {
  readonly path: string
  /** As it says itself, such as `release-20260101.0`. */
  readonly version: string
}

/** @param searchPath - As of `findCommand`. @throws ProtocolError `sandbox_unavailable`, with what to install */
export async function findGvisor(signal: AbortSignal, searchPath?: string): Promise<FoundGvisor> {
  const path = await findCommand('runsc', searchPath)
  if (path === undefined) throw missing('runsc is not installed.')
  try {
    const { stdout } = await run(path, ['--version'], { signal, timeout: 10_000 })
    return { path, version: /^runsc version (\S+)/.exec(stdout)?.[1] ?? 'of an unknown version' }
  } catch (cause) {
    signal.throwIfAborted()
    throw missing(`${path} does not run.`, cause)
  }
}

function missing(why: string, cause?: unknown): ProtocolError {
  return new ProtocolError('sandbox_unavailable', `Native programs cannot run in gVisor here: ${why}`, {
    hint: 'Install it (Debian: apt-get install runsc; others: https://gvisor.dev/docs/user_guide/install), or leave --native-walls out.',
    cause,
  })
}
