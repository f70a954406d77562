import { limits } from '../../protocol/limits.ts'
import { jsConvention } from './js/js-modules.ts'
import { createNativeRuntime, type NativeOptions } from './native/native-runtime.ts'
import type { Runtime } from './runtime.ts'
import { createWasmConvention } from './wasm/wasm-modules.ts'
import { createWatchdog } from './watchdog.ts'
import { openWorkerd, type WorkerdDeps, type WorkerdOptions } from './workerd/workerd.ts'

/** Every kind of program that this machine can run. */
export interface Runtimes extends AsyncDisposable {
  readonly runtimes: readonly Runtime[]
}

export interface RuntimesOptions extends WorkerdOptions {
  /** Whether, and how, Linux binaries and scripts run, too. Off where it is absent: they share this machine's kernel. */
  readonly native?: NativeOptions | undefined
}

/**
 * `js` and `wasm` share a workerd binary, a sandbox and the processes that wait for a program.
 *
 * @throws ProtocolError `sandbox_unavailable` where native programs are asked for and cannot be contained
 */
export async function openRuntimes(
  deps: WorkerdDeps,
  { native, ...options }: RuntimesOptions,
  signal: AbortSignal,
): Promise<Runtimes> {
  await using starting = new AsyncDisposableStack()
  const { clock } = deps
  const watchdog =
    deps.watchdog ?? starting.use(createWatchdog({ clock }, { intervalMs: limits.watchdogIntervalMs }))
  const shared = { ...deps, watchdog }
  const [workerd, wasmConvention] = await Promise.all([
    openWorkerd(shared, options, signal),
    createWasmConvention(),
  ])
  starting.use(workerd)
  const natives = native ? [starting.use(await createNativeRuntime(shared, native, signal))] : []
  const runtimes = [...[jsConvention, wasmConvention].map(workerd.runtime), ...natives]
  const parts = starting.move()
  return { runtimes, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}
