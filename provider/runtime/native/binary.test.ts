import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatElf } from '../sandbox/elf.ts'
import { isSyscallArch, type SyscallArch } from '../sandbox/syscalls.ts'
import { assertRunnable, readBinary } from './binary.ts'
import { canRunNatively, compile } from './testing/compile.ts'

const other: SyscallArch = process.arch === 'x64' ? 'arm64' : 'x64'

test('a script tells by whom it is run', () => {
  const script = readBinary(Buffer.from('#! /bin/sh -e\necho\n'), 'run.sh')
  expect(script).toEqual({ kind: 'interpreted', by: '/bin/sh' })
  expect(() => assertRunnable(script, 'run.sh', 'none')).toThrow(
    expect.objectContaining({ code: 'runtime_unavailable' }),
  )
  expect(() => assertRunnable(script, 'run.sh', 'usr')).not.toThrow()
})

describe.skipIf(!canRunNatively)('with a C compiler', () => {
  test('a static binary needs nobody', () => {
    const binary = readBinary(compile('compliance.c'), 'app')
    expect(binary).toEqual({ kind: 'static' })
    expect(() => assertRunnable(binary, 'app', 'none')).not.toThrow()
  })
})

test.skipIf(process.platform !== 'linux')('a dynamic binary, on Linux, needs its loader', () => {
  const shell = execFileSync('readlink', ['-f', '/bin/sh'], { encoding: 'utf8' }).trim()
  const binary = readBinary(readFileSync(shell), 'sh')
  expect(binary).toMatchObject({ kind: 'interpreted', by: expect.stringMatching(/^\/lib.*ld-/) })
})

test.skipIf(!isSyscallArch(process.arch))('a binary for another machine is told at once', () => {
  expect(() => readBinary(formatElf(other, Buffer.alloc(8), 16), 'app')).toThrow('another machine')
})

test('any bytes are a program or are refused', () => {
  const elf = fc.uint8Array({ maxLength: 300 }).map((rest) => {
    const head = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, ...Array(11).fill(0), process.arch === 'x64' ? 62 : 183, 0]
    return Uint8Array.from([...head, ...rest])
  })
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array(), elf), (bytes) => {
      try {
        expect(['static', 'interpreted']).toContain(readBinary(bytes, 'app').kind)
      } catch (error) {
        expect(error).toMatchObject({ code: 'program_invalid' })
      }
    }),
  )
})
