import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { errorTable } from './errors.ts'
import {
  type ProgramLimit,
  programLimits,
  resolveLimits,
  type SettableLimitName,
  settableLimitNames,
} from './program-limits.ts'
import { formatLimitsMarkdown, limitRows } from './program-limits-table.ts'

const rows = Object.entries<ProgramLimit>(programLimits)

test('the readme shows the table as it is', async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const [, shown] = /<!-- limits -->\n+([\s\S]*?)\n+<!-- \/limits -->/.exec(readme) ?? []
  expect(shown).toBe(formatLimitsMarkdown())
})

test('every breach has a code of the table of errors, or words for what happens instead', () => {
  for (const [, { breach }] of rows) {
    if ('code' in breach) expect(errorTable).toHaveProperty(breach.code)
    else expect(breach.effect).toMatch(/^[a-z ,0-9]+$/)
  }
  const owned = rows.flatMap(([name, { breach, unit }]) =>
    'code' in breach &&
    unit !== 'files' &&
    !name.startsWith('zip') &&
    !name.startsWith('egress') &&
    name !== 'startMs'
      ? [breach.code]
      : [],
  )
  expect(new Set(owned).size).toBe(owned.length)
})

test('whatever a deployment sets is what it gets, and the rest has defaults within the bounds', () => {
  const settings = fc.record(
    Object.fromEntries(settableLimitNames.map((name) => [name, fc.integer(programLimits[name])])) as Record<
      SettableLimitName,
      fc.Arbitrary<number>
    >,
    { requiredKeys: [] },
  )
  fc.assert(
    fc.property(settings, (some) => {
      const all = resolveLimits(some)
      expect(all).toMatchObject(some)
      for (const name of settableLimitNames) {
        expect(all[name]).toBeGreaterThanOrEqual(programLimits[name].min)
        expect(all[name]).toBeLessThanOrEqual(programLimits[name].max)
      }
      if (some.cpuMs === undefined) expect(all.cpuMs).toBe(all.timeoutMs)
    }),
  )
})

test('a provider that gives less is shown with what it gives', () => {
  const row = limitRows({ memoryMiB: 64 }).find(({ name }) => name === 'memoryMiB')
  expect(row).toMatchObject({ default: '128 MiB', max: '512 MiB', providerMax: '64 MiB', settable: true })
})
