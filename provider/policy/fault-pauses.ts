import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Hex } from 'viem'
import { z } from 'zod'
import type { Log } from '../../protocol/base/log.ts'
import { createRecent, type Recent } from '../../protocol/base/recent.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { limits } from '../../protocol/limits.ts'
import { hexSchema } from '../../protocol/schema.ts'
import { writeDurably } from '../durable-file.ts'
import { cidSchema } from './policy.ts'

/** A deployment that fails too often, and until when it waits. */
export interface FaultPause {
  readonly cid: string
  readonly reason: string
  /** Milliseconds since 1970. */
  readonly untilMs: number
}

/** Pauses by the digest of what was signed. Each change is on the disk a moment later; disposal waits for that. */
export interface FaultPauses
  extends Pick<Recent<Hex, FaultPause>, 'get' | 'set' | 'delete' | 'values'>,
    AsyncDisposable {}

const fileName = 'pauses.json'

const fileSchema = z.strictObject({
  paused: z
    .array(
      z.strictObject({
        spec: hexSchema(32),
        cid: cidSchema,
        reason: z.string().max(limits.policyReasonCharsMax),
        untilMs: z.int().min(0),
      }),
    )
    .max(limits.policyEntriesMax),
})

/** A restart must not be what a program that fails has to wait for: its pause goes on. */
export async function openFaultPauses({ log }: { log: Log }, dir: string): Promise<FaultPauses> {
  const path = join(dir, fileName)
  const pauses = createRecent<Hex, FaultPause & { readonly spec: Hex }>(limits.policyEntriesMax)
  for (const pause of await readPauses()) pauses.set(pause.spec, pause)
  let isChanged = false
  let writing: Promise<void> | undefined

  async function readPauses() {
    try {
      return fileSchema.parse(parseJson(await readFile(path))).paused
    } catch (error) {
      // They would have ended by themselves: not worth a provider that does not start.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log.warn('pauses_unread', { error: String(error) })
      return []
    }
  }

  function save(): void {
    isChanged = true
    writing ??= write()
      .catch((error) => log.warn('pauses_unwritten', { error: String(error) }))
      .finally(() => {
        writing = undefined
      })
  }

  async function write(): Promise<void> {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    while (isChanged) {
      isChanged = false
      await writeDurably(path, `${JSON.stringify({ paused: [...pauses.values()] }, undefined, 2)}\n`)
    }
  }

  return {
    get: pauses.get,
    values: pauses.values,
    set(spec, pause) {
      pauses.set(spec, { ...pause, spec })
      save()
    },
    delete(spec) {
      if (!pauses.has(spec)) return
      pauses.delete(spec)
      save()
    },
    async [Symbol.asyncDispose]() {
      await writing
    },
  }
}
