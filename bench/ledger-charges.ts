import { execFile } from 'node:child_process'
import { mkdir, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { BenchContext, Measurement } from './measurement.ts'
import { median } from './median.ts'

/** Charges that get on disk in a second, in groups and one by one, in turns. */
export const ledgerCharges: Measurement = {
  name: 'ledger-charges',
  title: 'Durable charges',
  async run(context, signal) {
    const rates = new Map(ways.map(({ way }) => [way, [] as number[]]))
    for (let round = 0; round < context.rounds; round += 1) {
      for (const { way } of round % 2 === 0 ? ways : ways.toReversed()) {
        rates.get(way)?.push(await chargeInProcess(context, way, signal))
      }
    }
    const each = rates.get('each') ?? []
    return {
      tables: [
        {
          caption: '',
          columns: ['', 'charges/s', '× one fsync per charge', 'ms per charge and caller'],
          rows: ways.map(({ way, name, callers }) => {
            const found = rates.get(way) ?? []
            const ratio = median(found.map((rate, round) => rate / (each[round] ?? Number.NaN)))
            return [name, median(found), ratio, (callers * 1000) / median(found)]
          }),
        },
      ],
      remarks: [`The disk: ${await describeFileSystem(context.dir)}.`],
    }
  },
}

const ways = [
  { way: 'sync', name: 'the disk: append of 4 KiB, fdatasync', callers: 1 },
  { way: 'each', name: 'same rows, one fsync per charge', callers: 1 },
  ...[1, 10, 50, 200].map((callers) => ({
    way: `${callers}`,
    name: `ledger, ${callers} ${callers === 1 ? 'caller' : 'callers'}`,
    callers,
  })),
]

async function chargeInProcess(
  { dir, seconds }: BenchContext,
  way: string,
  signal: AbortSignal,
): Promise<number> {
  const ledgerDir = join(dir, 'ledger')
  await mkdir(ledgerDir, { recursive: true })
  const args = [join(import.meta.dirname, 'ledger-process.ts'), ledgerDir, way, `${seconds * 1000}`]
  const { stdout } = await promisify(execFile)(process.execPath, args, { signal })
  await rm(ledgerDir, { recursive: true })
  const { charges, elapsedMs } = JSON.parse(stdout) as { charges: number; elapsedMs: number }
  return (charges * 1000) / elapsedMs
}

/** A memory file system syncs nothing, so its numbers mean nothing. */
async function describeFileSystem(dir: string): Promise<string> {
  const { type } = await statfs(dir)
  return fileSystems[type] ?? `file system 0x${type.toString(16)}`
}

const fileSystems: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  801189825: 'zfs',
  2035054128: 'overlayfs',
  16914836: 'tmpfs, that is memory: nothing is synced',
}
