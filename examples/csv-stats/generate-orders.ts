/**
 * Orders of a bakery as CSV with CRLF and a header, the same for the same seed: accents and scripts, quotes and line
 * breaks in fields, empty values, codes with leading zeros. It runs on the developer's machine, not in the program:
 *
 *     node generate-orders.ts 365 > sample.csv
 */
export function* generateOrders({ rows, seed = 1 }: { rows: number; seed?: number }): Generator<string> {
  const random = createRandom(seed)
  const pick = <T>(choices: readonly T[]): T => choices[Math.floor(random() * choices.length)] as T
  yield 'order,date,customer,postcode,item,quantity,unit_price,discount,paid,note\r\n'
  for (let row = 0; row < rows; row += 1) {
    const date = new Date(Date.UTC(2025, 0, 1 + (row % 365))).toISOString().slice(0, 10)
    const fields = [
      String(10_001 + row),
      date,
      pick(customers),
      String(Math.floor(random() * 100_000)).padStart(5, '0'),
      pick(items),
      String(1 + Math.floor(random() * random() * 40)),
      (2 + random() * 18).toFixed(2),
      random() < 0.7 ? '' : (Math.floor(random() * 6) * 0.05).toFixed(2),
      String(random() < 0.9),
      random() < 0.6 ? '' : pick(notes),
    ]
    yield `${fields.map(formatField).join(',')}\r\n`
  }
}

const customers = [
  'ნინო ბერიძე',
  'Zoë Müller',
  'O’Brien, Seán',
  'José "Pepe" Ibáñez',
  'Søren Ågård',
  '山田 花子',
  'Ada Lovelace',
  'Nuñez & Sons, Ltd.',
  'Łukasz Żak',
]

const items = ['khachapuri adjaruli', 'khachapuri imeruli', 'lobiani', 'shotis puri', 'mchadi', 'churchkhela']

const notes = [
  'extra egg',
  'no coriander, please',
  'call "before" delivery',
  'ring twice\r\nthen wait',
  'gluten-free? → no',
  'gift 🎁',
  '"',
  'left at the door,\n\nas agreed',
]

/** Quotes a field where RFC 4180 wants it. */
function formatField(field: string): string {
  return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field
}

/** Small and repeatable (mulberry32); nothing here needs to be hard to guess. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

if (import.meta.main) {
  for (const line of generateOrders({ rows: Number(process.argv[2] ?? 365) })) process.stdout.write(line)
}
