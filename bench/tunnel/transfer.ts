import { readFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { MiB } from '../../protocol/base/bytes.ts'
import { listDescendants, readCpuTime } from '../cpu-time.ts'
import type { Target } from '../load.ts'

/** What one large body cost. */
export interface Transfer {
  readonly mibPerSecond: number
  /** CPU seconds for a GiB, by role. */
  readonly cpuSecondsPerGib: Readonly<Record<string, number>>
  /** The most that a process held, since it started. MiB, by role. */
  readonly peakMib: Readonly<Record<string, number>>
}

const block = Buffer.alloc(256 * 1024, 'khachapuri ')

/** Moves one body through a way and counts every byte. @throws Error where one is missing */
export async function transfer(
  { target, bytes, direction }: { target: Target; bytes: number; direction: 'down' | 'up' },
  signal: AbortSignal,
): Promise<Transfer> {
  const before = cpuOf(target)
  const startMs = performance.now()
  const moved =
    direction === 'down' ? await download(target, bytes, signal) : await upload(target, bytes, signal)
  const seconds = (performance.now() - startMs) / 1000
  if (moved !== bytes) throw new Error(`${target.name} moved ${moved} of ${bytes} bytes`)
  const after = cpuOf(target)
  const gib = bytes / (1024 * MiB)
  return {
    mibPerSecond: bytes / MiB / seconds,
    cpuSecondsPerGib: Object.fromEntries(
      [...after].map(([role, us]) => [role, (us - (before.get(role) ?? us)) / 1e6 / gib]),
    ),
    peakMib: Object.fromEntries(
      await Promise.all(
        target.processes.map(async ({ role, pid }) => [role, await readPeakMib(pid)] as const),
      ),
    ),
  }
}

async function download(target: Target, bytes: number, signal: AbortSignal): Promise<number> {
  const answer = await open(target, `bytes/${bytes}`, signal)
  let moved = 0
  answer.on('data', (part: Buffer) => {
    moved += part.length
  })
  await new Promise((resolve, reject) => answer.on('end', resolve).on('error', reject))
  return moved
}

async function upload(target: Target, bytes: number, signal: AbortSignal): Promise<number> {
  const answer = await open(target, '', signal, bytes)
  let text = ''
  for await (const part of answer) text += part
  return Number(text)
}

function open(target: Target, path: string, signal: AbortSignal, bytes?: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = request(new URL(path, target.url), {
      method: bytes === undefined ? 'GET' : 'POST',
      headers: {
        ...(target.host !== undefined && { host: target.host }),
        ...(bytes !== undefined && { 'content-length': bytes }),
      },
      agent: false,
      signal,
    })
    sent.on('response', resolve).on('error', reject)
    let left = bytes ?? 0
    const proceed = () => {
      while (left > 0) {
        const part = block.subarray(0, Math.min(left, block.length))
        left -= part.length
        if (!sent.write(part)) return
      }
      sent.end()
    }
    sent.on('drain', proceed)
    proceed()
  })
}

function cpuOf({ processes }: Target): Map<string, number> {
  return new Map(
    processes.flatMap(({ role, pid }) => {
      const time = readCpuTime(pid)
      return time ? [[role, time.ownUs + time.childrenUs] as const] : []
    }),
  )
}

/** The process with those that it started: sshd has one for each connection. */
async function readPeakMib(pid: number): Promise<number> {
  const peaks = await Promise.all([pid, ...listDescendants(pid)].map(readOwnPeakMib))
  return peaks.reduce((sum, mib) => sum + mib, 0)
}

async function readOwnPeakMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? Number.NaN) / 1024
}
