import type { Blockstore } from 'interface-blockstore'
import type { Block } from './block.ts'

const putsAtOnceMax = 8

export interface PutQueue extends AsyncDisposable {
  /** Starts writing a block, after waiting for others where too many run. @throws what a put threw */
  add(block: Block): Promise<void>
  /** Waits for all of them. @throws what a put threw */
  drain(): Promise<void>
}

/** A few writes at once, none of which outlives the queue: a put that fails late must not end the process. */
export function createPutQueue(blockstore: Pick<Blockstore, 'put'>): PutQueue {
  let running: Promise<void>[] = []
  const failures: unknown[] = []
  const drain = async () => {
    const batch = running
    running = []
    await Promise.all(batch)
    if (failures.length > 0) throw failures[0]
  }
  return {
    async add({ cid, bytes }) {
      if (running.length >= putsAtOnceMax) await drain()
      const put = async () => void (await blockstore.put(cid, bytes))
      running.push(put().catch((error) => void failures.push(error)))
    },
    drain,
    async [Symbol.asyncDispose]() {
      await Promise.all(running)
    },
  }
}
