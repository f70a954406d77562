import { MemoryBlockstore } from 'blockstore-core'
import { expect, test } from 'vitest'
import { ProtocolError } from '../../protocol/errors.ts'
import { cidOfRawDigest } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import { createSpecFetcher } from './fetch-spec.ts'

const missing = new ProtocolError('cid_not_found', 'Not here.', { hint: 'Look elsewhere.' })
const never = new AbortController().signal

test('specs that nobody has keep others out for a while, and not for ever, whoever waits for them', async () => {
  const made: string[] = []
  const fetchSpec = createSpecFetcher(
    {
      blockstore: new MemoryBlockstore(),
      peers: {
        readBlock: (cid, signal) => {
          made.push(cid.toString())
          return new Promise((_, reject) =>
            signal.addEventListener('abort', () => reject(missing), { once: true }),
          )
        },
      },
    },
    { timeoutMs: 20 },
  )
  const cids = Array.from({ length: limits.routeSpecFetchesMax + 1 }, (_, n) =>
    cidOfRawDigest(new Uint8Array(32).fill(n)),
  )
  const last = cids.pop()
  if (!last) throw new Error('there are some')
  const waiting = Promise.allSettled(cids.map((cid) => fetchSpec(cid, never)))
  while (made.length < limits.routeSpecFetchesMax) await new Promise(setImmediate)
  await expect(fetchSpec(last, never)).rejects.toMatchObject({ code: 'too_many_requests' })
  for (const one of await waiting) expect(one).toMatchObject({ reason: { code: 'cid_not_found' } })
  await expect(fetchSpec(last, never)).rejects.toMatchObject({ code: 'cid_not_found' })
  expect(made.length).toBe(limits.routeSpecFetchesMax + 1)
})
