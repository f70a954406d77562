import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CsvError, createCsvParser } from './src/csv-parser.ts'

/** Parses pieces one after the other, as they come off a network. */
function parse(...pieces: string[]): string[][] {
  const records: string[][] = []
  const onRecord = (fields: readonly string[]) => records.push([...fields])
  const parser = createCsvParser({ delimiter: ',', fieldLengthMax: 20, fieldsMax: 5, onRecord })
  for (const piece of pieces) parser.write(piece)
  parser.end()
  return records
}

test.each([
  [
    'a,b\r\nc,d\r\n',
    [
      ['a', 'b'],
      ['c', 'd'],
    ],
  ], // RFC 4180, section 2, rules 1 and 2
  [
    'a,b\r\nc,d',
    [
      ['a', 'b'],
      ['c', 'd'],
    ],
  ],
  [
    'a,b\nc,d\n',
    [
      ['a', 'b'],
      ['c', 'd'],
    ],
  ],
  [
    'a,b\rc,d\r',
    [
      ['a', 'b'],
      ['c', 'd'],
    ],
  ],
  [
    'a,,\n,,c',
    [
      ['a', '', ''],
      ['', '', 'c'],
    ],
  ],
  [' a , b', [[' a ', ' b']]], // rule 4: blanks are part of a field
  [
    '"a","b\r\nb","c"\r\nd,e,f',
    [
      ['a', 'b\r\nb', 'c'],
      ['d', 'e', 'f'],
    ],
  ], // rules 5 and 6
  ['"a","b""b","c"', [['a', 'b"b', 'c']]], // rule 7
  ['"","""",""""""', [['', '"', '""']]],
  ['"a,b"', [['a,b']]],
  ['a\n\nb', [['a'], [''], ['b']]],
  ['a,', [['a', '']]],
  ['', []],
])('%j has the records %j', (text, records) => {
  expect(parse(text)).toEqual(records)
  expect(parse(...text)).toEqual(records)
})

test.each([
  ['a\nb"c', 2, 'A quote stands inside a field'],
  ['a\n"b" c', 2, 'Text follows the quote'],
  ['"a"b', 1, 'Text follows the quote'],
  ['a\r\n"b\r\nc', 2, 'A quote is opened and never closed.'],
  ['"a\nb\nc"\n"d"e', 4, 'Text follows the quote'],
  ['a,b,c,d,e,f', 1, 'A record has more than 5 fields.'],
  [`a\n${'x'.repeat(21)}`, 2, 'A field has more than 20 characters.'],
  [`a\n"${'\n'.repeat(21)}"`, 2, 'A field has more than 20 characters.'],
])('%j is refused on line %i', (text, line, message) => {
  for (const pieces of [[text], [...text]]) {
    const attempt = () => parse(...pieces)
    expect(attempt).toThrow(CsvError)
    expect(attempt).toThrow(expect.objectContaining({ line, message: expect.stringContaining(message) }))
  }
})

test('whatever is written by the rules is read back, wherever it is cut', () => {
  const character = fc.constantFrom('a', '"', ',', '\r', '\n', ' ', 'ä', '🧀')
  const field = fc.string({ unit: character, maxLength: 8 })
  const table = fc.array(fc.array(field, { minLength: 2, maxLength: 5 }), { maxLength: 6 })
  const lineEnd = fc.constantFrom('\r\n', '\n', '\r')
  fc.assert(
    fc.property(table, lineEnd, fc.array(fc.nat(200)), (records, end, cuts) => {
      const text = records.map((fields) => fields.map(format).join(',') + end).join('')
      const at = [0, ...cuts.filter((cut) => cut < text.length).sort((a, b) => a - b), text.length]
      const pieces = at.slice(1).map((to, index) => text.slice(at[index], to))
      expect(parse(...pieces)).toEqual(records)
    }),
    { numRuns: 500, seed: 4180 },
  )
})

const format = (field: string) => (/[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field)
