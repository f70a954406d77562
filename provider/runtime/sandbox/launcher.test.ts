import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { encodeLaunch, type Launch } from './launch-image.ts'
import { formatLauncher } from './launcher.ts'
import { formatStdinLauncher, frameLaunch } from './stdin-launcher.ts'
import { isSyscallArch } from './syscalls.ts'

const isRunnable = process.platform === 'linux' && isSyscallArch(process.arch)

describe.skipIf(!isRunnable)('the launcher, on Linux', () => {
  const folder = mkdtempSync(join(tmpdir(), 'khachapuri-launcher-'))
  const path = join(folder, 'launcher')
  if (isSyscallArch(process.arch)) writeFileSync(path, formatLauncher(process.arch))
  chmodSync(path, 0o755)
  afterAll(() => rmSync(folder, { recursive: true }))

  function start() {
    const child = spawn(path, [], { stdio: ['pipe', 'pipe', 'pipe', 'pipe'], env: { OURS: '1' } })
    const output = child.stdout!.toArray()
    const control = child.stdio[3] as Duplex
    return { child, control, output, exited: once(child, 'close') as Promise<[number | null]> }
  }

  async function launch(what: Launch): Promise<{ code: number | null; lines: string[] }> {
    const { control, output, exited } = start()
    await once(control, 'data')
    control.end(encodeLaunch(what))
    const [code] = await exited
    return {
      code,
      lines: Buffer.concat(await output)
        .toString()
        .split('\0')
        .slice(0, -1),
    }
  }

  test('becomes what it is told, with that environment and no other', async () => {
    const env = { A: 'ü "b"\n', EMPTY: '', LONG: 'x'.repeat(100_000) }
    const { code, lines } = await launch({ args: ['/usr/bin/env', '-0'], env })
    expect(code).toBe(0)
    expect(lines).toEqual(Object.entries(env).map(([name, value]) => `${name}=${value}`))
  })

  test('passes arguments on as they are', async () => {
    const args = ['/usr/bin/printf', '%s\\0', 'a b', '', '$HOME', 'ж']
    expect(await launch({ args, env: {} })).toEqual({ code: 0, lines: args.slice(2) })
  })

  test('takes an image that comes in pieces', async () => {
    const { control, output, exited } = start()
    const image = encodeLaunch({ args: ['/usr/bin/env'], env: { KEY: 'value' } })!
    for (let at = 0; at < image.length; at += 7) {
      control.write(image.subarray(at, at + 7))
      await new Promise(setImmediate)
    }
    control.end()
    expect((await exited)[0]).toBe(0)
    expect(Buffer.concat(await output).toString()).toBe('KEY=value\n')
  })

  test('leaves its socket to nobody', async () => {
    const script = 'for fd in 3 4 5; do if { true >&$fd; } 2>/dev/null; then echo $fd; fi; done'
    const { code, lines } = await launch({ args: ['/bin/sh', '-c', script], env: {} })
    expect({ code, lines }).toEqual({ code: 0, lines: [] })
  })

  test('reads what to run from its input, where walls let nothing else in, and leaves the rest to the program', async () => {
    const stdinPath = join(folder, 'stdin-launcher')
    if (isSyscallArch(process.arch)) writeFileSync(stdinPath, formatStdinLauncher(process.arch))
    chmodSync(stdinPath, 0o755)
    const run = async (input: Buffer) => {
      const child = spawn(stdinPath, [], { stdio: ['pipe', 'pipe', 'pipe'], env: {} })
      const exited = once(child, 'close') as Promise<[number | null]>
      // One that ends does not read all of it.
      child.stdin.on('error', () => undefined)
      for (let at = 0; at < input.length; at += 90) {
        child.stdin.write(input.subarray(at, at + 90))
        await new Promise(setImmediate)
      }
      child.stdin.end()
      const output = Buffer.concat(await child.stdout.toArray())
      return { code: (await exited)[0], first: output[0], output: output.subarray(1).toString() }
    }
    const frame = frameLaunch(encodeLaunch({ args: ['/bin/cat', '-', '/dev/null'], env: {} })!)
    expect(await run(Buffer.concat([frame, Buffer.from('the rest')]))).toEqual({
      code: 0,
      first: 0,
      output: 'the rest',
    })
    const tooLong = Buffer.alloc(4, 0xff)
    for (const broken of [Buffer.alloc(0), frame.subarray(0, 50), tooLong])
      expect((await run(broken)).code).toBe(127)
  })

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['no program', encodeLaunch({ args: ['/nowhere'], env: {} })!],
  ])('ends where it gets %s', async (_, image) => {
    const { control, exited } = start()
    control.end(image)
    expect((await exited)[0]).toBe(127)
  })
})

test('what Linux would not take is told before', () => {
  expect(encodeLaunch({ args: ['/a'], env: { A: 'x'.repeat(128 * 1024) } })).toBeUndefined()
  expect(encodeLaunch({ args: ['/a'], env: { A: 'a\0B=b' } })).toBeUndefined()
  const many = Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`A${i}`, 'x'.repeat(100_000)]))
  expect(encodeLaunch({ args: ['/a'], env: many })).toBeUndefined()
})

test('every pointer of an image leads to its string', () => {
  const text = fc.string({ unit: 'grapheme' }).filter((one) => !one.includes('\0'))
  const name = fc.stringMatching(/^[A-Z]{1,8}$/)
  fc.assert(
    fc.property(fc.array(text, { minLength: 1 }), fc.dictionary(name, text), (args, env) => {
      const image = encodeLaunch({ args, env })!
      const at = (address: bigint) => Number(address) - 0x1000_0000
      const readText = (address: bigint) =>
        image.subarray(at(address), image.indexOf(0, at(address))).toString()
      const readList = (address: bigint) => {
        const found: string[] = []
        for (let place = at(address); image.readBigUInt64LE(place) !== 0n; place += 8)
          found.push(readText(image.readBigUInt64LE(place)))
        return found
      }
      expect(readText(image.readBigUInt64LE(0))).toBe(args[0])
      expect(readList(image.readBigUInt64LE(8))).toEqual(args)
      expect(readList(image.readBigUInt64LE(16))).toEqual(
        Object.entries(env).map(([key, value]) => `${key}=${value}`),
      )
    }),
  )
})
