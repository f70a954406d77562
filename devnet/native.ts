import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { createNativeRuntime, type NativeOptions } from '../provider/runtime/native/native-runtime.ts'

/** How the providers here run native programs, where they can be contained, and an example of one can be built. */
export async function findNative(
  deps: { clock: Clock; log: Log },
  signal: AbortSignal,
): Promise<NativeOptions | undefined> {
  if (!(await canBuildC(signal)) && !(await canBuildGo(signal))) return undefined
  const options: NativeOptions = { root: 'none' }
  try {
    await using runtime = await createNativeRuntime(deps, options, signal)
    return (await runtime.probe(signal)).tier === 'sandbox' ? options : undefined
  } catch {
    signal.throwIfAborted()
    return undefined
  }
}

/** Go is there, and has a place for what it compiles: without one, each build would be one of its whole library. */
export async function canBuildGo(signal: AbortSignal): Promise<boolean> {
  try {
    const { stdout } = await promisify(execFile)('go', ['env', 'GOCACHE'], { signal })
    return stdout.trim() !== 'off'
  } catch {
    signal.throwIfAborted()
    return false
  }
}

export async function canBuildC(signal: AbortSignal): Promise<boolean> {
  try {
    await promisify(execFile)('cc', ['--version'], { signal })
    return true
  } catch {
    signal.throwIfAborted()
    return false
  }
}
