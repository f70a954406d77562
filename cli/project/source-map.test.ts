import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { utf8 } from '../../protocol/base/bytes.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { buildProgram } from './build.ts'
import { type BundleMap, createLocate, locateError } from './source-map.ts'

let dir: string
let map: BundleMap
let bundle: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'khachapuri-map-'))
  await mkdir(join(dir, 'src/parts'), { recursive: true })
  await writeFile(join(dir, 'khachapuri.json'), '{"name":"mapped","entry":"src/index.ts"}')
  await writeFile(
    join(dir, 'src/parts/fail.ts'),
    'export function fail(x: string): never {\n\n  throw new Error(x)\n}\n',
  )
  await writeFile(
    join(dir, 'src/index.ts'),
    "import { fail } from './parts/fail.ts'\nexport default { fetch: (r: Request) => fail(r.url) }\n",
  )
  const built = await buildProgram(dir, new AbortController().signal)
  map = built.sourceMap as BundleMap
  bundle = Buffer.from(built.zip).toString('latin1')
})
afterAll(() => rm(dir, { recursive: true }))

/** Where something stands in the bundle, which is one line. */
function placeOf(text: string): string {
  const code = /(?:function|export)[^\n]*throw[^\n]*/.exec(bundle)?.[0] ?? ''
  return `src/index.js:1:${code.indexOf(text) + 1}`
}

test('places of a bundle become those of its sources, in messages and in stacks', () => {
  const locate = createLocate(map)
  const place = placeOf('throw ')
  expect(locate(`Error: ouch (${place})`)).toBe('Error: ouch (src/parts/fail.ts:3:3)')
  expect(locate(`at a (program/${place})\nat b (${place})`)).toBe(
    'at a (src/parts/fail.ts:3:3)\nat b (src/parts/fail.ts:3:3)',
  )
  expect(
    locateError(new ProtocolError('program_crashed', `x ${place}`, { hint: 'h' }), locate),
  ).toMatchObject({ code: 'program_crashed', message: 'x src/parts/fail.ts:3:3', hint: 'h' })
})

test('what is no place of the bundle, or of a program without a map, stays as it is', () => {
  const place = placeOf('throw ')
  const others = [`other/${place}`, `${place.replace('.js', '.json')}`, 'src/index.js:1', 'src/index.js:99:1']
  for (const text of others) expect(createLocate(map)(text)).toBe(text)
  const broken = [
    '',
    '{}',
    '{"version":3,"mappings":5}',
    'null',
    '{"version":3,"sources":[null],"mappings":"AAAA"}',
  ]
  for (const json of broken)
    expect(createLocate({ path: map.path, json: utf8.encode(json) })(place), json).toBe(place)
  expect(createLocate(undefined)(place)).toBe(place)
  const error = new TypeError(place)
  expect(locateError(error, createLocate(map))).toBe(error)
})

test('a map stays with its developer', () => {
  expect(bundle).not.toContain('.map')
  expect(bundle).not.toContain('fail.ts')
  expect(utf8.decode(map.json)).not.toContain('throw')
})
