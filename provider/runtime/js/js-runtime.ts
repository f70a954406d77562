import type { Runtime } from '../runtime.ts'
import { createWorkerdRuntime, type WorkerdDeps, type WorkerdOptions } from '../workerd/workerd.ts'
import { jsConvention } from './js-modules.ts'

/** Runs JavaScript in a workerd of its own. */
export const createJsRuntime = (
  deps: WorkerdDeps,
  options: WorkerdOptions,
  signal: AbortSignal,
): Promise<Runtime> => createWorkerdRuntime(deps, jsConvention, options, signal)
