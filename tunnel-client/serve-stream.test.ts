import { expect, test } from 'vitest'
import { createTestLog } from '../protocol/base/log.ts'
import { formatRequestHead, type LostAttempt } from '../protocol/frames/head.ts'
import { createMuxPair, createRecorder, type Recorder } from '../test/support/mux-pair.ts'
import { type ServeOptions, serveStream } from './serve-stream.ts'
import { createTakenStreams } from './taken-streams.ts'

const tunnelId = '0123456789abcdef0123456789abcdef'

/** Sends one request to a provider's end. @returns what the gateway's end saw, and how often the handler ran. */
async function request({
  head,
  lostAttempts = [],
  ...changes
}: Partial<ServeOptions> & { head?: string; lostAttempts?: LostAttempt[] } = {}): Promise<{
  seen: Recorder
  runs: number
  acceptedBefore: boolean | undefined
}> {
  let runs = 0
  let acceptedBefore: boolean | undefined
  const taken = createTakenStreams()
  taken.remember({ tunnelId, lastPeerStreamId: 7, cut: () => {} })
  const seen = createRecorder()
  const options: ServeOptions = {
    log: createTestLog(),
    taken,
    remoteAddress: undefined,
    isLeaving: () => false,
    handler(_, response) {
      runs++
      // The answer comes later, so what the gateway knows by then does not come from it.
      pair.at(5, () => {
        acceptedBefore = seen.isAccepted
        response.end('answer')
      })
    },
    ...changes,
  }
  const pair = createMuxPair({ onStream: (stream, text) => serveStream(options, stream, text) })
  pair.gateway.openWhole(
    seen,
    head ?? formatRequestHead({ method: 'GET', target: '/', rawHeaders: [], lostAttempts }),
  )
  await pair.run()
  return { seen, runs, acceptedBefore }
}

test('a request is accepted when the handler gets it, and not only by its answer', async () => {
  const { seen, runs, acceptedBefore } = await request()
  expect([runs, acceptedBefore, seen.isEnded]).toEqual([1, true, true])
})

test('a provider that leaves refuses without accepting, so that the request may go elsewhere', async () => {
  const { seen, runs } = await request({ isLeaving: () => true })
  expect([runs, seen.isAccepted, seen.reset]).toEqual([0, false, 'refused'])
})

test('a head that is none is refused without accepting', async () => {
  const { seen, runs } = await request({ head: '["GET","http://absolute/",[]]' })
  expect([runs, seen.isAccepted, seen.reset]).toEqual([0, false, 'head_invalid'])
})

test('a request that comes again is taken only if it was not taken before', async () => {
  const again = await request({ lostAttempts: [{ tunnelId, streamId: 7 }] })
  expect([again.runs, again.seen.isAccepted, again.seen.reset]).toEqual([0, false, 'already_taken'])
  const first = await request({ lostAttempts: [{ tunnelId, streamId: 8 }] })
  expect([first.runs, first.seen.isAccepted, first.seen.isEnded]).toEqual([1, true, true])
})

test.each([
  ['cancelled', false],
  ['overloaded', false],
  ['timed_out', true],
  ['answer_invalid', true],
] as const)(
  'of what the gateway breaks off, only what its caller did is that caller’s (%s)',
  async (reason, isWayLost) => {
    const closed = Promise.withResolvers<boolean | undefined>()
    const options: ServeOptions = {
      log: createTestLog(),
      taken: createTakenStreams(),
      remoteAddress: undefined,
      isLeaving: () => false,
      handler: (_, response) => void response.once('close', () => closed.resolve(response.isWayLost)),
    }
    const pair = createMuxPair({ onStream: (stream, text) => serveStream(options, stream, text) })
    const head = formatRequestHead({ method: 'GET', target: '/', rawHeaders: [], lostAttempts: [] })
    const stream = pair.gateway.openWhole(createRecorder(), head)
    await pair.run()
    stream.reset(reason)
    await pair.run()
    expect(await closed.promise).toBe(isWayLost)
  },
)
