import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { listen } from '../../protocol/http/listen.ts'
import { createSiblings, hopHeader } from './siblings.ts'

const alice = getAddress('0x00000000000000000000000000000000000000a1')

test('a process is asked for what it has, and nothing is kept of one that is there no more', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'siblings-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(dir, { recursive: true }))
  const asked: unknown[] = []
  const open = async (name: string) => {
    const path = join(dir, name)
    const listener = stack.use(
      await listen({
        path,
        onRequest(request, response) {
          asked.push([name, request.headers[hopHeader]])
          response.end('ok')
        },
      }),
    )
    return { path, listener }
  }
  const [first, second] = [await open('1.sock'), await open('2.sock')]
  using siblings = createSiblings()
  const ask = () =>
    new Promise<void>((resolve, reject) => {
      const handler = { onHead() {}, onData() {}, onEnd: () => resolve(), onError: reject }
      const request = { method: 'GET', target: '/', rawHeaders: ['host', 'alice'] }
      const upstream = siblings.upstreamFor(alice)
      if (upstream) upstream.send(request, handler)
      else reject(new Error('nobody has it'))
    })
  await expect(ask()).rejects.toThrow('nobody has it')
  siblings.set([{ path: first.path, providers: [alice] }])
  await ask()
  expect(first.listener.connections).toBe(1)
  // It was started again.
  siblings.set([{ path: second.path, providers: [alice] }])
  await ask()
  expect(asked).toEqual([
    ['1.sock', alice],
    ['2.sock', alice],
  ])
  while (first.listener.connections > 0) await new Promise(setImmediate)
  expect(second.listener.connections).toBe(1)
})
