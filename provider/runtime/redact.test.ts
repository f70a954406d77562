import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createRedact } from './redact.ts'

test('values of the env are told by their names, each line of a long one, too', () => {
  const redact = createRedact({ KEY: 's3cret-value', PEM: '-----BEGIN\nabcdefgh\n-----END', SHORT: 'no' })
  expect(redact('say s3cret-value twice: s3cret-value')).toBe('say [KEY] twice: [KEY]')
  expect(redact('  abcdefgh')).toBe('  [PEM]')
  expect(redact('no, not that')).toBe('no, not that')
  expect(createRedact({ A: 'secret', B: 'secret-longer' })('secret-longer secret')).toBe('[B] [A]')
  expect(createRedact({ TABS: 'left\tright' })('left\tright, left right')).toBe('[TABS], [TABS]')
})

test('wherever a line is cut, no more of a value is shown than says nothing', () => {
  const key = 'sk_live_0123456789abcdef'
  const redact = createRedact({ KEY: key })
  for (const after of ['', ' (main.ts:3)', '", which is no CGI header.']) {
    for (let length = 6; length <= key.length; length += 1)
      expect(redact(`at ?q=x&key=${key.slice(0, length)}${after}`)).toBe(`at ?q=x&key=[KEY]${after}`)
  }
  expect(redact('sk_live_other, and sk_live_ too')).toBe('sk_live_other, and sk_live_ too')
})

/** What `createRedact` promises, looked for in the plainest way. */
function redactPlainly(env: Readonly<Record<string, string>>, line: string): string {
  const values = Object.entries(env)
    .map(([name, value]) => ({ name, value: value.trim() }))
    .filter(({ value }) => value.length >= 6)
  const places: { start: number; end: number; name: string; isWhole: boolean }[] = []
  for (let start = 0; start < line.length; start += 1) {
    for (let end = start + 1; end <= line.length; end += 1) {
      const part = line.slice(start, end)
      const whole = values.find(({ value }) => value === part)
      if (whole) places.push({ start, end, name: whole.name, isWhole: true })
      const isCut = end === line.length || line[end] === '"' || line.startsWith(' (', end)
      const begun = isCut && part.length >= 6 && values.find(({ value }) => value.startsWith(part))
      if (begun) places.push({ start, end, name: begun.name, isWhole: false })
    }
  }
  places.sort((a, b) => a.start - b.start || b.end - a.end || Number(b.isWhole) - Number(a.isWhole))
  let shown = ''
  let from = 0
  let rest = places
  while (rest[0]) {
    const [{ start, name }] = rest as [(typeof places)[number]]
    let { end } = rest[0]
    for (const place of rest) if (place.start < end) end = Math.max(end, place.end)
    shown += `${line.slice(from, start)}[${name}]`
    from = end
    rest = rest.filter((place) => place.start >= from)
  }
  return shown + line.slice(from)
}

test('whatever the values and the line, it is as if each value had been looked for at each place', () => {
  // Few letters, so that values lie within, before and across one another.
  const letters = fc.constantFrom('a', 'b', 'a', '"', ' (')
  const text = (maxLength: number) => fc.array(letters, { maxLength }).map((parts) => parts.join(''))
  const env = fc.array(text(12), { maxLength: 6 }).map((values) => {
    return Object.fromEntries(values.map((value, index) => [`V${index}`, value]))
  })
  fc.assert(
    fc.property(env, text(60), (values, line) => {
      expect(createRedact(values)(line)).toBe(redactPlainly(values, line))
    }),
    { numRuns: 500 },
  )
})

test('values that are like one another without end take no longer to look for than others', () => {
  // Each is the beginning and the end of the next, and so is the line: looked for one by one, this takes long.
  const env = Object.fromEntries(
    Array.from({ length: 500 }, (_, index) => [
      `V${index}`,
      `${'a'.repeat(20 + index)}${index % 2 ? 'b' : 'a'}`,
    ]),
  )
  const redact = createRedact(env)
  const line = 'a'.repeat(4_096)
  for (let round = 0; round < 2_000; round += 1) expect(redact(line)).toMatch(/^\[V\d+\]$/)
})
