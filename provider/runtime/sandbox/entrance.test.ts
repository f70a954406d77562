import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { formatEntrance } from './entrance.ts'
import { isSyscallArch } from './syscalls.ts'

const isRunnable = process.platform === 'linux' && isSyscallArch(process.arch)

describe.skipIf(!isRunnable)('the entrance of a sandbox, on Linux', () => {
  const folder = mkdtempSync(join(tmpdir(), 'khachapuri-entrance-'))
  const path = join(folder, 'entrance')
  if (isSyscallArch(process.arch)) writeFileSync(path, formatEntrance(process.arch))
  chmodSync(path, 0o755)
  afterAll(() => rmSync(folder, { recursive: true }))

  const run = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(path, args, { env: { OURS: '1' }, encoding: 'utf8' })
    return { status, stdout, stderr }
  }

  test('writes itself into each of its cgroups, and becomes its command, with its arguments as they are and no environment', () => {
    const files = ['a', 'b b'].map((name) => join(folder, name))
    for (const file of files) writeFileSync(file, '')
    const args = ['%s|', 'a b', '', '$HOME', '--', 'ж']
    expect(run('4096', ...files, '--', '/usr/bin/printf', ...args)).toEqual({
      ...{ status: 0, stdout: 'a b||$HOME|--|ж|', stderr: '' },
    })
    for (const file of files) expect(readFileSync(file, 'utf8')).toBe('0')
    expect(run('0', '--', '/usr/bin/env')).toEqual({ status: 0, stdout: '', stderr: '' })
  })

  test('bounds cores, files and descriptors, for good', () => {
    const limits = (flag: string) => `ulimit ${flag}c; ulimit ${flag}f; ulimit ${flag}n`
    const { stdout } = run('67108864', '--', '/bin/sh', '-c', `${limits('-S')}; ${limits('-H')}`)
    const each = ['0', String(67_108_864 / 512), '1024']
    expect(stdout.split('\n').slice(0, -1)).toEqual([...each, ...each])
  })

  test('runs nothing where a cgroup cannot be entered, and says so', () => {
    const failed = { status: 127, stdout: '', stderr: 'a cgroup or the command failed' }
    expect(run('4096', join(folder, 'none'), '--', '/usr/bin/env')).toEqual(failed)
    expect(run('4096', '--', join(folder, 'none'))).toEqual(failed)
    expect(run('4096', folder, '--', '/usr/bin/env')).toEqual(failed)
  })

  test('there is one for each processor that system calls are known of', () => {
    for (const arch of ['x64', 'arm64'] as const)
      expect(formatEntrance(arch).subarray(1, 4).toString()).toBe('ELF')
  })
})
