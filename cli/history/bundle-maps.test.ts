import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { utf8 } from '../../protocol/base/bytes.ts'
import { limits } from '../../protocol/limits.ts'
import { keepBundleMap, readBundleMap } from './bundle-maps.ts'

let home: string
let place: { env: Record<string, string> }
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'khachapuri-maps-'))
  place = { env: { KHACHAPURI_HOME: home } }
})
afterAll(() => rm(home, { recursive: true }))

const mapOf = (text: string) => ({ path: 'src/in dex.js', json: utf8.encode(text) })

test('a map is read as it was kept, by the program that it is of', async () => {
  await keepBundleMap('bafkA', mapOf('{"a":1}\n'), place)
  const found = await readBundleMap('bafkA', place)
  expect([found?.path, found && utf8.decode(found.json)]).toEqual(['src/in dex.js', '{"a":1}\n'])
  expect(await readBundleMap('bafkB', place)).toBeUndefined()
  expect(await readBundleMap('../../x', place)).toBeUndefined()
})

test('what is too large is not kept, and the oldest go', async () => {
  await keepBundleMap('bafkLarge', { path: 'x', json: new Uint8Array(limits.bundleMapBytesMax + 1) }, place)
  expect(await readBundleMap('bafkLarge', place)).toBeUndefined()
  for (let one = 0; one < limits.bundleMapsKeptMax + 3; one++)
    await keepBundleMap(`bafk${one}`, mapOf(String(one)), place)
  expect((await readdir(join(home, 'versions', 'maps'))).length).toBe(limits.bundleMapsKeptMax)
  expect(await readBundleMap('bafkA', place)).toBeUndefined()
  expect(await readBundleMap(`bafk${limits.bundleMapsKeptMax + 2}`, place)).toBeDefined()
})
