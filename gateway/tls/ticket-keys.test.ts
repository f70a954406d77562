import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import { readTicketKeys } from './ticket-keys.ts'

test('processes that start together share the keys of tickets, for a day, and nobody else may read them', async () => {
  const parent = await mkdtemp(join(tmpdir(), 'tickets-'))
  const dir = join(parent, 'tls')
  const dayMs = limits.tlsTicketKeysAgeMsMax
  const clock = createTestClock(20_000 * dayMs)
  const readTogether = async (): Promise<Buffer> => {
    const all = await Promise.all(Array.from({ length: 8 }, () => readTicketKeys({ clock }, dir)))
    for (const keys of all) expect(keys.equals(all[0] as Buffer)).toBe(true)
    return all[0] as Buffer
  }
  const first = await readTogether()
  expect(first.length).toBe(48)
  expect(await readdir(dir)).toEqual(['ticket-keys.20000'])
  expect((await stat(join(dir, 'ticket-keys.20000'))).mode & 0o777).toBe(0o600)

  await clock.advance(dayMs - 1)
  expect((await readTogether()).equals(first)).toBe(true)
  await clock.advance(1)
  expect((await readTogether()).equals(first)).toBe(false)
  expect(await readdir(dir)).toEqual(['ticket-keys.20001'])
  await rm(parent, { recursive: true })
})
