import { describe } from 'vitest'
import { systemClock } from '../../../protocol/base/clock.ts'
import { createTestLog } from '../../../protocol/base/log.ts'
import { ampleMs, type ComplianceProgram, testRuntimeCompliance } from '../compliance.ts'
import type { ProgramFiles } from '../runtime.ts'
import { createNativeRuntime } from './native-runtime.ts'
import { canRunNatively, compile } from './testing/compile.ts'

const names = ['echo', 'bytes', 'count', 'settings', 'endless', 'loop', 'hog', 'crash'] as const

const ways = [
  ['cgi', 'cgi', ''],
  ['a Unix socket', 'http', ''],
  ['a port', 'http', 'port/'],
] as const

describe.skipIf(!canRunNatively)('with a C compiler and bubblewrap', () => {
  const bytes = canRunNatively ? compile('compliance.c') : new Uint8Array()
  for (const [how, native, folder] of ways) {
    const programs = Object.fromEntries(
      names.map((name) => [name, { files: [{ path: folder + name, bytes }], entry: folder + name, native }]),
    ) as unknown as Record<ComplianceProgram, ProgramFiles>
    testRuntimeCompliance(`native programs that answer by ${how}`, {
      createRuntime: () =>
        createNativeRuntime(
          { clock: systemClock, log: createTestLog() },
          { root: 'none', startTimeoutMs: ampleMs },
          new AbortController().signal,
        ),
      programs,
      outlivesCalls: native === 'cgi',
    })
  }
})
