import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { processHopHeader } from '../../protocol/http/headers.ts'
import { listen } from '../../protocol/http/listen.ts'
import { createSiblings } from './siblings.ts'

const alice = getAddress('0x00000000000000000000000000000000000000a1')

test('a process is asked for what it has, and nothing is kept of one that is there no more', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'siblings-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(dir, { recursive: true }))
  const asked: unknown[] = []
  const dialled: string[] = []
  const open = async (name: string) => {
    const path = join(dir, name)
    stack.use(
      await listen({
        path,
        admitConnection() {
          dialled.push(name)
          return () => undefined
        },
        onRequest(request, response) {
          asked.push([name, request.headers[processHopHeader]])
          response.end('ok')
        },
      }),
    )
    return path
  }
  const first = await open('1.sock')
  const second = await open('2.sock')
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
  siblings.set([{ path: first, providers: [alice] }])
  await ask()
  await ask()
  expect(dialled).toEqual(['1.sock'])
  // It was started again.
  siblings.set([{ path: second, providers: [alice] }])
  await ask()
  siblings.set([{ path: first, providers: [alice] }])
  await ask()
  expect(asked).toEqual(['1.sock', '1.sock', '2.sock', '1.sock'].map((name) => [name, alice]))
  // What was kept of the first would have been used again.
  expect(dialled).toEqual(['1.sock', '2.sock', '1.sock'])
})
