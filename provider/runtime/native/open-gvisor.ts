import type { Log } from '../../../protocol/base/log.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import { type GvisorPlatform, gvisorPlatforms } from '../sandbox/gvisor.ts'
import { createSandbox, type Sandbox } from '../sandbox/sandbox.ts'
import { createAppFolder } from './app-folder.ts'
import type { FoundGvisor } from './find-gvisor.ts'

/** How long a platform may take to stand; one that does not work here may hang. */
const platformTimeoutMs = 10_000

/**
 * Opens gVisor with the first of its platforms in which something starts on this machine.
 *
 * @throws ProtocolError `sandbox_unavailable`
 */
export async function openGvisor(
  deps: { log: Log },
  { path, version }: FoundGvisor,
  signal: AbortSignal,
): Promise<{ readonly sandbox: Sandbox; readonly engine: string }> {
  const problems: string[] = []
  for (const platform of gvisorPlatforms) {
    await using starting = new AsyncDisposableStack()
    // What is tried without gVisor is only what stands around it: cgroups and users.
    const options = { mode: 'process', trialPath: process.execPath, gvisor: { path, platform } } as const
    const sandbox = starting.use(await createSandbox(deps, options, signal))
    const problem = await tryPlatform(sandbox, platform, signal)
    if (problem === undefined) {
      starting.move()
      return { sandbox, engine: `gVisor ${version} (${platform})` }
    }
    problems.push(problem)
  }
  throw new ProtocolError(
    'sandbox_unavailable',
    `Native programs cannot run in gVisor here: ${problems.join(' ')}`,
    { hint: 'Start the provider as root with cgroups, with a newer runsc, or leave --native-walls out.' },
  )
}

/** @returns what went wrong, in words. */
async function tryPlatform(
  sandbox: Sandbox,
  platform: GvisorPlatform,
  signal: AbortSignal,
): Promise<string | undefined> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(platformTimeoutMs)])
  const nothing = { files: [{ path: 'nothing', bytes: new Uint8Array() }], entry: 'nothing' }
  await using app = await createAppFolder(sandbox, nothing, signal)
  try {
    await using cell = await sandbox.spawnNative(
      { app: app.path, user: app.user, mounts: [], hasDoors: false },
      deadline,
    )
    cell.kill()
    return undefined
  } catch (error) {
    signal.throwIfAborted()
    const cause = error instanceof Error ? (error.cause ?? error) : error
    const why = cause instanceof Error ? cause.message : String(cause)
    return `With ${platform}: ${why.split('\n').at(-1)}.`
  }
}
