import { readFile } from 'node:fs/promises'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { generateOrders } from './generate-orders.ts'
import program from './src/index.ts'
import type { TableStatistics } from './src/table.ts'

const url = 'http://alice.localhost/'
const sample = new Uint8Array(await readFile(new URL('sample.csv', import.meta.url)))

function post(body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>, query = '') {
  return program.fetch(new Request(url + query, { method: 'POST', body, duplex: 'half' }))
}

async function describe(body: Parameters<typeof post>[0], query = ''): Promise<TableStatistics> {
  const response = await post(body, query)
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8')
  return (await response.json()) as TableStatistics
}

/** The statistics of a file with one column. */
const describeColumn = async (...values: string[]) =>
  (await describe(['column', ...values].join('\n'))).columns[0]!

test('the sample has the statistics that Python’s csv and statistics modules find', async () => {
  const { rows, columns } = await describe(sample)
  expect(rows).toBe(365)
  const figures = columns.map((c) => [c.name, c.type, c.count, c.empty, c.distinct, c.min, c.max])
  expect(figures).toEqual([
    ['order', 'integer', 365, 0, 365, 10001, 10365],
    ['date', 'date', 365, 0, 365, '2025-01-01', '2025-12-31'],
    ['customer', 'text', 365, 0, 9, 'Ada Lovelace', '山田 花子'],
    ['postcode', 'text', 365, 0, 365, '00021', '99963'],
    ['item', 'text', 365, 0, 6, 'churchkhela', 'shotis puri'],
    ['quantity', 'integer', 365, 0, 36, 1, 39],
    ['unit_price', 'number', 365, 0, 339, 2.09, 19.97],
    ['discount', 'number', 105, 260, 6, 0, 0.25],
    ['paid', 'boolean', 365, 0, 2, 'false', 'true'],
    ['note', 'text', 131, 234, 8, '"', 'ring twice\r\nthen wait'],
  ])
  const moments = columns.flatMap((c) =>
    c.mean === null ? [] : [[c.name, round(c.mean), round(c.standardDeviation!)]],
  )
  expect(moments).toEqual([
    ['order', 10183, 105.5106629683],
    ['quantity', 10.9068493151, 8.7804154068],
    ['unit_price', 10.7940821918, 5.2831720766],
    ['discount', 0.1138095238, 0.0878414322],
  ])
  expect(columns.every((column) => column.distinctExact)).toBe(true)
})

const round = (value: number) => Number(value.toFixed(10))

test('the sample is what its generator writes', () => {
  expect([...generateOrders({ rows: 365 })].join('')).toBe(new TextDecoder().decode(sample))
})

test('it makes no difference where the bytes are cut, not even inside a character', async () => {
  const withBom = new Uint8Array([0xef, 0xbb, 0xbf, ...sample])
  let at = 0
  const byteByByte = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at === withBom.length) controller.close()
      else controller.enqueue(withBom.slice(at, ++at))
    },
  })
  expect(await describe(byteByByte)).toEqual(await describe(sample))
})

test('50 MB take no more memory than 5', async () => {
  const { file, heapBytesAfter } = measureWhileRead(
    generateChunks({ bytesTotal: 50_000_000, chunkBytes: 65_536 }),
  )
  const { rows, columns } = await describe(file)
  expect(rows).toBeGreaterThan(600_000)
  expect(columns[0]).toMatchObject({
    count: rows,
    min: 10_001,
    max: 10_000 + rows,
    distinct: 1_000,
    distinctExact: false,
  })
  expect(columns[0]!.mean).toBeCloseTo(10_000 + (rows + 1) / 2, 3)
  expect(heapBytesAfter.length).toBeGreaterThan(8)
  expect(Math.max(...heapBytesAfter) - heapBytesAfter[0]!).toBeLessThan(4_000_000)
})

test('a value that is kept does not keep the chunk that it came in', async () => {
  const columnCount = 256
  const fill = (value: string) => Array<string>(columnCount).fill(value)
  const format = (fields: string[]) => `${fields.join()}\n`
  const dull = format(fill('neither first nor last'))
  // The count of distinct values has ended by then: V8 copies what goes into a Set, and nothing would be seen.
  const different = Array.from({ length: 200 }, (_, index) => format(fill(`different ${index}`)))
  // Each chunk brings the least value of one column and, so that it is large, much that is of no interest.
  const chunks = Array.from(
    { length: columnCount },
    (_, index) =>
      format(fill('neither first nor last').with(index, 'a value that comes first')) + dull.repeat(10),
  )
  const texts = [dull, ...different, ...chunks, dull.repeat(10)]
  const { file, heapBytesAfter } = measureWhileRead(texts.map((text) => new TextEncoder().encode(text)))
  const { columns } = await describe(file)
  expect(columns.every(({ min }) => min === 'a value that comes first')).toBe(true)
  expect(heapBytesAfter).toHaveLength(3)
  expect(heapBytesAfter.at(-1)! - heapBytesAfter[0]!).toBeLessThan(2_000_000)
})

/** A file that is read chunk by chunk, and what was alive whenever another 5 MB had been taken from it. */
function measureWhileRead(chunks: Iterable<Uint8Array>) {
  const heapBytesAfter: number[] = []
  const left = chunks[Symbol.iterator]()
  let bytesRead = 0
  const file = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        // The answer is not there yet, so whatever the program kept of the file so far is counted here.
        if (bytesRead >= 5_000_000 * (heapBytesAfter.length + 1)) heapBytesAfter.push(measureHeapBytes())
        const { value, done } = left.next()
        if (done) return controller.close()
        bytesRead += value.byteLength
        controller.enqueue(value)
      },
    },
    { highWaterMark: 0 },
  )
  return { file, heapBytesAfter }
}

/** Whole records in chunks of about one size, until there are enough. */
function* generateChunks({ bytesTotal, chunkBytes }: { bytesTotal: number; chunkBytes: number }) {
  const encoder = new TextEncoder()
  let text = ''
  let bytesLeft = bytesTotal
  for (const line of generateOrders({ rows: Number.POSITIVE_INFINITY })) {
    text += line
    if (text.length < chunkBytes) continue
    const bytes = encoder.encode(text)
    yield bytes
    text = ''
    bytesLeft -= bytes.byteLength
    if (bytesLeft <= 0) return
  }
}

/** What is alive after a full collection. */
function measureHeapBytes(): number {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  const { used_heap_size: heapBytes, external_memory: externalBytes } = getHeapStatistics()
  return heapBytes + externalBytes
}

test('a wrong line in an endless file is answered at once, and the rest not asked for', async () => {
  let canceled = false
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode('a,b\n1,2\n3\n')),
    cancel() {
      canceled = true
    },
  })
  const response = await post(endless)
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ line: 3, error: 'The header has 2 fields, this record 1.' })
  expect(canceled).toBe(true)
})

test.each([
  ['integer', ['1', '-20', '+3', '0']],
  ['number', ['1', '2.5', '.5', '1e3', '-0.1']],
  ['boolean', ['true', 'FALSE']],
  ['date', ['2026-01-31', '2026-02-01T12:30:00Z']],
  ['text', ['1', 'x']],
  ['text', ['007', '12']],
  ['text', ['2026-13-01']],
  ['text', ['1e999']],
  ['text', ['1,5'].map((value) => `"${value}"`)],
  ['empty', ['', '  ', '']],
])('a column is %s for %j', async (type, values) => {
  expect((await describeColumn(...values)).type).toBe(type)
})

test('blanks around a value do not count, and blanks alone are empty', async () => {
  expect(await describeColumn(' 1', '2 ', ' ', '2')).toEqual({
    name: 'column',
    type: 'integer',
    count: 3,
    empty: 1,
    min: 1,
    max: 2,
    mean: 5 / 3,
    standardDeviation: expect.closeTo(Math.sqrt(1 / 3), 12),
    distinct: 2,
    distinctExact: true,
  })
})

test('one number has no deviation, and no number has no mean', async () => {
  expect(await describeColumn('5')).toMatchObject({ mean: 5, standardDeviation: null })
  expect(await describeColumn('5', 'five')).toMatchObject({
    min: '5',
    max: 'five',
    mean: null,
    standardDeviation: null,
  })
})

test('large numbers that lie close keep their deviation', async () => {
  const column = await describeColumn('1000000004', '1000000007', '1000000013', '1000000016')
  expect(column).toMatchObject({ mean: 1_000_000_010, standardDeviation: Math.sqrt(30) })
})

test('distinct values are counted exactly up to a thousand, long ones too', async () => {
  const values = (count: number, length: number) =>
    Array.from({ length: count * 2 }, (_, index) => String(index % count).padStart(length, 'x'))
  expect(await describeColumn(...values(1_000, 5))).toMatchObject({ distinct: 1_000, distinctExact: true })
  expect(await describeColumn(...values(1_001, 5))).toMatchObject({ distinct: 1_000, distinctExact: false })
  expect(await describeColumn(...values(900, 300))).toMatchObject({ distinct: 900, distinctExact: true })
})

test('other delimiters can be asked for', async () => {
  const { columns } = await describe('a;b\n1,5;2\n', '?delimiter=semicolon')
  expect(columns.map(({ name, min }) => [name, min])).toEqual([
    ['a', '1,5'],
    ['b', 2],
  ])
})

test('a header alone is a table without rows, and empty lines are none either', async () => {
  expect((await describe('a,b\r\n')).rows).toBe(0)
  expect((await describe('a,b\n\n1,2\n\n')).rows).toBe(1)
})

test.each([
  ['an empty file', '', '', { error: 'The file is empty.' }],
  [
    'a record that is too short',
    'a,b\n1,2\n3\n',
    '',
    { line: 3, error: 'The header has 2 fields, this record 1.' },
  ],
  ['a record that is too long', 'a\n1,2', '', { line: 2, error: 'The header has 1 fields, this record 2.' }],
  ['an open quote', 'a\n"b', '', { line: 2, error: 'A quote is opened and never closed.' }],
  ['a stray quote', 'a\nb "c"', '', { line: 2, error: expect.stringContaining('A quote stands inside') }],
  ['Latin-1', new Uint8Array([0x61, 0x0a, 0xe9, 0x0a]), '', { error: expect.stringContaining('not UTF-8') }],
  [
    'half a character at the end',
    new Uint8Array([0x61, 0x0a, 0xc3]),
    '',
    { error: expect.stringContaining('not UTF-8') },
  ],
  ['too many columns', ','.repeat(256), '', { line: 1, error: 'A record has more than 256 fields.' }],
  ['an endless field', 'x'.repeat(65_537), '', { line: 1, error: 'A field has more than 65536 characters.' }],
  ['an unknown delimiter', 'a', '?delimiter=%2C', { field: 'delimiter' }],
  ['a delimiter of the object’s own', 'a', '?delimiter=constructor', { field: 'delimiter' }],
])('%s is refused', async (_, body, query, refusal) => {
  const response = await post(body, query)
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ ...refusal, hint: expect.any(String) })
})

test('GET says how to use it; other methods, paths and forms have their own status', async () => {
  const usage = await program.fetch(new Request(url))
  expect([usage.status, await usage.text()]).toEqual([
    200,
    expect.stringContaining('--data-binary @sample.csv'),
  ])
  expect((await program.fetch(new Request(`${url}x`))).status).toBe(404)
  const wrongMethod = await program.fetch(new Request(url, { method: 'DELETE' }))
  expect([wrongMethod.status, wrongMethod.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST'])
  const form = new FormData()
  form.append('file', new Blob(['a\n1']), 'a.csv')
  expect((await program.fetch(new Request(url, { method: 'POST', body: form }))).status).toBe(415)
})
