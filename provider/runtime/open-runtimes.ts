import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { jsConvention } from './js/js-modules.ts'
import type { Runtime } from './runtime.ts'
import { createWasmConvention } from './wasm/wasm-modules.ts'
import { openWorkerd, type WorkerdOptions } from './workerd/workerd.ts'

/** Every kind of program that this machine can run. */
export interface Runtimes extends AsyncDisposable {
  readonly runtimes: readonly Runtime[]
}

/** `js` and `wasm` share a workerd binary, a sandbox and the processes that wait for a program. */
export async function openRuntimes(
  deps: { clock: Clock; log: Log },
  options: WorkerdOptions,
  signal: AbortSignal,
): Promise<Runtimes> {
  const [workerd, wasmConvention] = await Promise.all([
    openWorkerd(deps, options, signal),
    createWasmConvention(),
  ])
  return {
    runtimes: [jsConvention, wasmConvention].map(workerd.runtime),
    [Symbol.asyncDispose]: async () => await workerd[Symbol.asyncDispose](),
  }
}
