import type { Clock } from '../../../protocol/base/clock.ts'
import type { Log } from '../../../protocol/base/log.ts'
import type { Runtime } from '../runtime.ts'
import { createWorkerdRuntime, type WorkerdOptions } from '../workerd/workerd.ts'
import { createWasmConvention } from './wasm-modules.ts'

/** Runs WebAssembly in a workerd of its own. */
export async function createWasmRuntime(
  deps: { clock: Clock; log: Log },
  options: WorkerdOptions,
  signal: AbortSignal,
): Promise<Runtime> {
  return createWorkerdRuntime(deps, await createWasmConvention(), options, signal)
}
