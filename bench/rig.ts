import { describeCores, pinBench } from './cores.ts'
import { createLoad, type Load } from './load.ts'
import { findOnPath } from './peers.ts'

/**
 * How proxies and tunnels are measured: the gateway, and the server side of each peer, alone on one core; generator,
 * web server and tunnel clients on the others. The generator is wrk, which takes half of what autocannon takes.
 */
export interface Rig extends AsyncDisposable {
  readonly load: Load
  /** For what is measured; undefined where nothing can be pinned. */
  readonly cores: string | undefined
  /** What runs where, and what makes the load: for below the tables. */
  readonly remark: string
}

export async function openRig(signal: AbortSignal): Promise<Rig> {
  await using starting = new AsyncDisposableStack()
  const pinned = await pinBench(signal)
  if (pinned) starting.use(pinned)
  const wrk = await findOnPath('wrk')
  const load = starting.use(createLoad(wrk))
  const parts = starting.move()
  return {
    load,
    cores: pinned?.measured,
    remark: `${describeCores(pinned)}; the load is made by ${wrk ? 'wrk' : 'autocannon, as wrk is not installed here'}.`,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
