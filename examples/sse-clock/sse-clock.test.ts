import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import clock from './src/index.ts'

const ask = (query: string, headers: Record<string, string> = {}) =>
  clock.fetch(new Request(`http://localhost/${query}`, { headers }))

interface Tick {
  readonly tick: number
  readonly of: number
  readonly utc: string
  readonly local: string
  readonly zone: string
}

/** As the HTML standard reads a stream of events. */
function parseEvents(stream: string) {
  return stream
    .split('\n\n')
    .filter((event) => event !== '')
    .map((event) => Object.fromEntries(event.split('\n').map((line) => line.split(/: (.*)/s, 2))))
    .map(({ data, ...rest }) => ({ ...rest, data: JSON.parse(data as string) as Tick }))
}

const readEvents = async ({ body }: Response) => parseEvents(body === null ? '' : await text(body))

test('ticks as often as it was asked to, each with its number and the time', async () => {
  const before = Date.now()
  const answer = ask('?every=20&count=4&zone=Asia/Tbilisi')
  expect(answer.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
  const events = await readEvents(answer)
  expect(events.map(({ data }) => data.tick)).toEqual([1, 2, 3, 4])
  expect(events.map((event) => (event as { id?: string }).id)).toEqual(['1', '2', '3', '4'])
  expect(events[0]).toMatchObject({ retry: '20', event: 'tick', data: { of: 4, zone: 'Asia/Tbilisi' } })
  expect(events[1]).not.toHaveProperty('retry')
  const times = events.map(({ data }) => Date.parse(data.utc))
  // A tick is never early, whatever the machine does meanwhile.
  times.forEach((time, i) => {
    expect(time).toBeGreaterThanOrEqual(before + i * 20 - 1)
  })
  // Tbilisi is four hours ahead of UTC all the year.
  const first = events[0]?.data
  const there = new Date(Date.parse(first?.utc ?? '') + 4 * 3_600_000).toISOString()
  expect(first?.local).toContain(there.slice(11, 19))
})

test('who comes back gets what is missing, and is told when there is nothing more', async () => {
  const events = await readEvents(ask('?every=10&count=5', { 'last-event-id': '3' }))
  expect(events.map(({ data }) => data.tick)).toEqual([4, 5])
  expect(ask('?every=10&count=5', { 'last-event-id': '5' }).status).toBe(204)
  expect(ask('?every=10&count=1', { 'last-event-id': 'x' }).status).toBe(200)
})

test('who leaves stops it', async () => {
  const reader = ask('?every=10&count=1000').body?.getReader()
  await reader?.read()
  await reader?.cancel()
  expect(await reader?.read()).toEqual({ done: true, value: undefined })
})

test.each([
  ['?every=1', 'every'],
  ['?every=1e3', 'every'],
  ['?count=0', 'count'],
  ['?every=10000&count=100', 'count'],
  ['?zone=Nowhere/Land', 'zone'],
])('%s is refused with its field', async (query, field) => {
  const answer = ask(query)
  expect(answer.status).toBe(400)
  expect(await answer.json()).toMatchObject({ field, error: expect.any(String), hint: expect.any(String) })
})

test('what it does not serve, it says', () => {
  expect(ask('other').status).toBe(404)
  const posted = clock.fetch(new Request('http://localhost/', { method: 'POST' }))
  expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
})
