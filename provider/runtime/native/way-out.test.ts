import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { publicNetwork } from '../../egress/egress-network.ts'
import type { Cell } from '../sandbox/cell.ts'
import type { HandedListener } from '../sandbox/handover.ts'
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

test.each(['late', 'given up'] as const)('a way out that comes after all is closed: %s', async (how) => {
  const handing = Promise.withResolvers<HandedListener>()
  const leaving = new AbortController()
  const opening = openWayOut(
    { handover: handoverOf(handing.promise) },
    { ...soon, timeoutMs: how === 'late' ? 1 : 2 ** 30 },
    leaving.signal,
  )
  if (how === 'given up') leaving.abort(new Error('gone'))
  await expect(opening).rejects.toThrow(how === 'late' ? 'no way to the network' : 'gone')
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  handing.resolve(listener)
  await once(listener, 'close')
})

test('a sandbox that ended, and a program without a network, have none', async () => {
  const ended = { handover: handoverOf(Promise.reject(new Error('Nothing listens in the sandbox.'))) }
  expect(await openWayOut(ended, { ...soon, timeoutMs: 2 ** 30 }, never)).toBeUndefined()
  expect(await openWayOut(silent, { ...soon, egress: 'none' }, never)).toBeUndefined()
})

function handoverOf(listening: Promise<HandedListener>): NonNullable<Cell['handover']> {
  return {
    listener: () => listening,
    connect: () => {
      throw new Error('Nobody asked for that.')
    },
    [Symbol.dispose]: () => undefined,
  }
}
