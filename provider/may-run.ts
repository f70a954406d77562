import type { RuntimeKind } from '../protocol/program.ts'
import type { Tier } from './runtime/runtime.ts'

export interface RunFacts {
  readonly kind: RuntimeKind
  /** Of the walls around programs of this kind. */
  readonly tier: Tier | undefined
  /** The operator's own program. */
  readonly isOwn: boolean
  /** Where there is no real money, and so no real stranger. */
  readonly isDevChain: boolean
}

/**
 * Whether the walls of this machine are good enough for a program. With less than all of them a development chain still
 * runs anybody's `js` and `wasm`, which have V8 around them; a binary without limits could take the whole machine.
 */
export function mayRun({ kind, tier, isOwn, isDevChain }: RunFacts): boolean {
  return tier === 'sandbox' || isOwn || (isDevChain && kind !== 'native')
}
