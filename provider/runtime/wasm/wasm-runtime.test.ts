import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../../protocol/base/clock.ts'
import { createTestLog } from '../../../protocol/base/log.ts'
import { ampleMs, type ComplianceProgram, testRuntimeCompliance } from '../compliance.ts'
import type { ProgramFiles } from '../runtime.ts'
import { createWasmRuntime } from './wasm-runtime.ts'

/** One module, which does what its name says: see testing/compliance.c. */
const module = readFileSync(join(import.meta.dirname, 'testing', 'compliance.wasm'))
const names = ['echo', 'bytes', 'count', 'settings', 'endless', 'loop', 'hog', 'crash'] as const

const programs = Object.fromEntries(
  names.map((name) => [name, { files: [{ path: `${name}.wasm`, bytes: module }], entry: `${name}.wasm` }]),
) as unknown as Record<ComplianceProgram, ProgramFiles>

for (const mode of ['auto', 'process'] as const) {
  const where = mode === 'auto' ? 'behind the walls of this machine' : 'in a plain process'
  testRuntimeCompliance(`wasm ${where}`, {
    createRuntime: () =>
      createWasmRuntime(
        { clock: systemClock, log: createTestLog() },
        { mode, zygotes: 0, startTimeoutMs: ampleMs },
        new AbortController().signal,
      ),
    programs,
  })
}
