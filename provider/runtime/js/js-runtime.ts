import type { Clock } from '../../../protocol/base/clock.ts'
import type { Log } from '../../../protocol/base/log.ts'
import type { Runtime } from '../runtime.ts'
import { createWorkerdRuntime, type WorkerdOptions } from '../workerd/workerd.ts'
import { jsConvention } from './js-modules.ts'

/** Runs JavaScript in a workerd of its own. */
export const createJsRuntime = (
  deps: { clock: Clock; log: Log },
  options: WorkerdOptions,
  signal: AbortSignal,
): Promise<Runtime> => createWorkerdRuntime(deps, jsConvention, options, signal)
