import type { Runtime } from '../runtime.ts'
import { createWorkerdRuntime, type WorkerdDeps, type WorkerdOptions } from '../workerd/workerd.ts'
import { createWasmConvention } from './wasm-modules.ts'

/** Runs WebAssembly in a workerd of its own. */
export async function createWasmRuntime(
  deps: WorkerdDeps,
  options: WorkerdOptions,
  signal: AbortSignal,
): Promise<Runtime> {
  return createWorkerdRuntime(deps, await createWasmConvention(), options, signal)
}
