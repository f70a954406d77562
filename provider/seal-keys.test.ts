import { link, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { utf8 } from '../protocol/base/bytes.ts'
import { createTestClock } from '../protocol/base/clock.ts'
import { limits } from '../protocol/limits.ts'
import { openSeal, parseSealed, parseSealKey, sealSpec } from '../protocol/seal.ts'
import { openSealKeys, type SealKeys } from './seal-keys.ts'

const clock = createTestClock()
let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'khachapuri-keys-'))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

/** Seals a text for what `keys` publishes now. */
async function seal({ publicKeyDer }: SealKeys, text: string) {
  const sealed = parseSealed(await sealSpec(utf8.encode(text), [await parseSealKey(publicKeyDer)]))
  if (!sealed) throw new Error('what was sealed is no seal')
  return sealed
}

test('a retired key opens what was sealed for it until its grace is over; then its file is gone', async () => {
  const keys = await openSealKeys({ clock }, dir)
  const old = await seal(keys, 'old')
  const { kid: firstKid, publicKeyDer: firstDer } = keys

  const rotated = await keys.rotate()
  expect(rotated).toEqual({ kid: keys.kid, retiredKid: firstKid })
  expect(keys.kid).not.toBe(firstKid)
  expect(Buffer.compare(keys.publicKeyDer, firstDer)).not.toBe(0)
  const recent = await seal(keys, 'new')
  // The same process goes on with both.
  expect(utf8.decode(await openSeal(old, keys.byKid))).toBe('old')
  expect(utf8.decode(await openSeal(recent, keys.byKid))).toBe('new')

  await clock.advance(limits.sealKeyGraceMs)
  const again = await openSealKeys({ clock }, dir)
  expect(again.kid).toBe(rotated.kid)
  expect(utf8.decode(await openSeal(old, again.byKid))).toBe('old')
  expect(utf8.decode(await openSeal(recent, again.byKid))).toBe('new')
  for (const name of await readdir(dir)) expect((await stat(join(dir, name))).mode & 0o777).toBe(0o600)

  await clock.advance(1)
  const late = await openSealKeys({ clock }, dir)
  await expect(openSeal(old, late.byKid)).rejects.toMatchObject({ code: 'deployment_not_for_provider' })
  expect(utf8.decode(await openSeal(recent, late.byKid))).toBe('new')
  expect(await readdir(dir)).toEqual(['seal-key.pem'])
})

test('a rotation that was cut short has lost no key', async () => {
  const { kid } = await openSealKeys({ clock }, dir)
  // The process died after the old key got its second name.
  await link(join(dir, 'seal-key.pem'), join(dir, `seal-key.${clock.nowMs()}.pem`))
  const keys = await openSealKeys({ clock }, dir)
  expect(keys.kid).toBe(kid)
  await clock.advance(1)
  const { retiredKid } = await keys.rotate()
  expect(retiredKid).toBe(kid)
  expect([...(await openSealKeys({ clock }, dir)).byKid.keys()].sort()).toEqual([kid, keys.kid].sort())
})
