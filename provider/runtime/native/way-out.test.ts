import { expect, test } from 'vitest'
import { publicNetwork } from '../../egress/egress-network.ts'
import type { Cell } from '../sandbox/cell.ts'
import { openWayOut, type WayOut } from './way-out.ts'

const never = new AbortController().signal
const soon: WayOut = { network: publicNetwork(), egress: 'public', timeoutMs: 1 }

/** A launcher that stays, and hands nothing over. */
const silent = { handover: handoverOf(new Promise(() => undefined)) }

test('a way out that no launcher hands over is the fault of the provider, and is not waited for for ever', async () => {
  await expect(openWayOut(silent, soon, never)).rejects.toMatchObject({ code: 'sandbox_unavailable' })
})

test('who gives up waits no longer for a way out', async () => {
  const leaving = new AbortController()
  const opening = openWayOut(silent, { ...soon, timeoutMs: 2 ** 30 }, leaving.signal)
  leaving.abort(new Error('gone'))
  await expect(opening).rejects.toThrow('gone')
})

test('a sandbox that ended, and a program without a network, have none', async () => {
  const ended = { handover: handoverOf(Promise.reject(new Error('Nothing listens in the sandbox.'))) }
  expect(await openWayOut(ended, { ...soon, timeoutMs: 2 ** 30 }, never)).toBeUndefined()
  expect(await openWayOut(silent, { ...soon, egress: 'none' }, never)).toBeUndefined()
})

function handoverOf(listening: Promise<never>): NonNullable<Cell['handover']> {
  return {
    listener: () => listening,
    connect: () => {
      throw new Error('Nobody asked for that.')
    },
    [Symbol.dispose]: () => undefined,
  }
}
