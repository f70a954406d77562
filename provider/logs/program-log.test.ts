import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { type Clock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import {
  type ProgramLogEntry,
  type ProgramLogQuery,
  programLogEntryToJson,
  programLogPageSchema,
} from '../../protocol/program-log.ts'
import { usdc } from '../../protocol/usdc.ts'
import { createOutputLines } from './output-lines.ts'
import { type FreshEntry, openProgramLog, type ProgramLog } from './program-log.ts'

const [one, other] = [`0x${'01'.repeat(32)}`, `0x${'02'.repeat(32)}`] as const

function createFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'khachapuri-log-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  return dir
}

/** A log, and a clock that moves when it is told to. */
function open(dir = createFolder()) {
  let atMs = 1_800_000_000_000
  const clock: Clock = { ...systemClock, nowMs: () => atMs, monotonicMs: () => atMs }
  const programLog = openProgramLog({ clock, log: createTestLog() }, dir)
  let isOpen = true
  const close = () => {
    if (isOpen) programLog[Symbol.dispose]()
    isOpen = false
  }
  onTestFinished(close)
  return { programLog, close, pass: (ms: number) => (atMs += ms), nowMs: () => atMs }
}

const line = (text: string): FreshEntry => ({ kind: 'output', text })
const call = (status: number): FreshEntry => ({
  kind: 'call',
  ...{ call: '0x0123', method: 'GET', path: '/a', status, durationMs: 7, chargedUsdc: usdc(500n) },
  outcome: status < 500 ? 'answered' : 'program_crashed',
})

const textsOf = (entries: readonly ProgramLogEntry[]) =>
  entries.map((entry) => (entry.kind === 'call' ? `${entry.status}` : entry.text))

function readAll(programLog: ProgramLog, query: ProgramLogQuery = {}): ProgramLogEntry[] {
  const all: ProgramLogEntry[] = []
  let after = 0
  for (;;) {
    const page = programLog.read(one, { ...query, after })
    all.push(...page.entries)
    if (page.isWhole) return all
    expect(page.lookedTo).toBeGreaterThan(after)
    after = page.lookedTo
  }
}

test('what was added is read in its order, by its deployment alone, and is still there after a restart', () => {
  const dir = createFolder()
  const first = open(dir)
  for (const entry of [line('a'), call(200), line('b')]) first.programLog.add(one, entry)
  first.programLog.add(other, line('of another'))
  const { entries } = first.programLog.read(one, {})
  expect(textsOf(entries)).toEqual(['a', '200', 'b'])
  expect(entries[1]).toMatchObject({ atMs: first.nowMs(), chargedUsdc: 500n, outcome: 'answered' })
  first.close()
  const { programLog } = open(dir)
  programLog.add(one, line('c'))
  expect(textsOf(programLog.read(one, { after: entries[1]?.id ?? 0 }).entries)).toEqual(['b', 'c'])
})

test('entries are chosen by status, by time and by what is in them', () => {
  const { programLog, pass, nowMs } = open()
  for (const entry of [call(200), call(404), line('Quick "fox"'), call(503)]) programLog.add(one, entry)
  pass(60_000)
  programLog.add(one, line('later'))
  const textsBy = (query: Parameters<ProgramLog['read']>[1]) => textsOf(programLog.read(one, query).entries)
  expect(textsBy({ status: { min: 400, max: 599 } })).toEqual(['404', '503'])
  expect(textsBy({ search: 'QUICK "FOX"' })).toEqual(['Quick "fox"'])
  expect(textsBy({ search: '%' })).toEqual([])
  expect(textsBy({ sinceMs: nowMs() - 1 })).toEqual(['later'])
  pass(limits.programLogAgeMsMax - 1)
  expect(textsBy({})).toEqual(['later'])
})

test('whoever floods its log loses what is too much, is told how much, and displaces nobody', () => {
  const { programLog, pass } = open()
  const tooMany = limits.programLogEntriesPerSecondMax + 70
  programLog.add(other, line('quiet'))
  let made = 0
  for (let i = 0; i < tooMany; i += 1) {
    programLog.add(one, () => {
      made += 1
      return line(`${i}`)
    })
  }
  expect(made).toBe(limits.programLogEntriesPerSecondMax)
  pass(1_001)
  programLog.add(one, line('next'))
  const texts = textsOf(readAll(programLog))
  expect(texts).toHaveLength(limits.programLogEntriesPerSecondMax + 2)
  expect(texts.slice(-2)).toEqual(['70 entries were left out: too many in one second.', 'next'])
  expect(textsOf(programLog.read(other, {}).entries)).toEqual(['quiet'])
})

test('a deployment keeps a bounded amount, the newest of it', () => {
  const { programLog, pass } = open()
  const long = 'x'.repeat(limits.programLogLineCharsMax)
  const rounds = Math.ceil((limits.programLogBytesMax * 1.5) / (long.length * 100))
  for (let round = 0; round < rounds; round += 1) {
    for (let i = 0; i < 100; i += 1) programLog.add(one, line(`${long}${round}-${i}`))
    programLog.read(one, { after: Number.MAX_SAFE_INTEGER })
    pass(1_001)
  }
  const texts = textsOf(readAll(programLog))
  const chars = texts.reduce((sum, text) => sum + text.length, 0)
  expect(chars).toBeLessThan(limits.programLogBytesMax * 1.2)
  expect(chars).toBeGreaterThan(limits.programLogBytesMax * 0.5)
  expect(texts.at(-1)).toBe(`${long}${rounds - 1}-99`)
})

test('a page survives the wire', () => {
  const { programLog } = open()
  for (const entry of [line('a'), call(503), { kind: 'event', text: 'ended' } as const])
    programLog.add(one, entry)
  const page = programLog.read(one, {})
  const sent = JSON.stringify({ ...page, entries: page.entries.map(programLogEntryToJson) })
  expect(programLogPageSchema.parse(JSON.parse(sent))).toEqual(page)
})

test('a search looks at so many entries for a page, whatever it finds, and goes on from there', () => {
  const { programLog, pass } = open()
  const rounds = Math.ceil((2 * limits.programLogLookedAtMax) / limits.programLogEntriesPerSecondMax)
  for (let round = 0; round < rounds; round += 1) {
    for (let i = 0; i < limits.programLogEntriesPerSecondMax; i += 1) programLog.add(one, line('hay'))
    pass(1_001)
  }
  programLog.add(one, line('needle'))
  const page = programLog.read(one, { search: 'needle' })
  expect(page).toEqual({ entries: [], lookedTo: limits.programLogLookedAtMax, isWhole: false })
  expect(textsOf(readAll(programLog, { search: 'needle' }))).toEqual(['needle'])
  expect(readAll(programLog)).toHaveLength(rounds * limits.programLogEntriesPerSecondMax + 1)
  expect(programLog.read(one, { after: 7_000_000 })).toEqual({
    entries: [],
    lookedTo: 7_000_000,
    isWhole: true,
  })
})

test('lines are the same in whatever pieces they come', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'binary' })),
      fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
      (words, sizes) => {
        const bytes = Buffer.from(`${words.join('\n')}\n`)
        const lines: string[] = []
        const push = createOutputLines((text) => lines.push(text))
        for (let at = 0; at < bytes.length; ) {
          const size = sizes.next().value as number
          push(bytes.subarray(at, at + size))
          at += size
        }
        expect(lines).toEqual(
          bytes
            .toString()
            .split('\n')
            .filter((text) => text !== ''),
        )
      },
    ),
  )
})
