import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { attestTokenHeader, openAttestChannel } from './attest-channel.ts'

const dir = await mkdtemp(join(tmpdir(), 'attest-'))
afterAll(() => rm(dir, { recursive: true }))

function ask(socketPath: string, token: string): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>()
  const headers = { [attestTokenHeader]: token }
  const outgoing = request({ socketPath, method: 'POST', headers, agent: false }, async (response) => {
    let body = ''
    for await (const chunk of response) body += String(chunk)
    resolve({ status: response.statusCode ?? 0, body })
  })
  outgoing.on('error', reject)
  outgoing.end('hello')
  return promise
}

test('a signature that is made when its call is over is not given', async () => {
  const socketPath = join(dir, 'a')
  const made = [Promise.withResolvers<Uint8Array>(), Promise.withResolvers<Uint8Array>()]
  const begun: (() => void)[] = []
  const asked = made.map(() => new Promise<void>((resolve) => begun.push(resolve)))
  let count = 0
  const sign = (message: Uint8Array) => {
    expect(String(message)).toBe(String(Buffer.from('hello')))
    begun[count]?.()
    return made[count++]!.promise
  }
  await using channel = await openAttestChannel({ sign }, { socketPath })
  const early = channel.lend()
  const late = channel.lend()

  const first = ask(socketPath, early.token)
  await asked[0]
  made[0]!.resolve(Buffer.from('signed'))
  expect(await first).toEqual({ status: 200, body: 'signed' })

  const second = ask(socketPath, late.token)
  await asked[1]
  late[Symbol.dispose]()
  made[1]!.resolve(Buffer.from('signed'))
  const refused = await second
  expect([refused.status, JSON.parse(refused.body).code]).toEqual([403, 'attest_outside_activation'])
  // The other call goes on.
  expect(count).toBe(2)
  expect((await ask(socketPath, late.token)).status).toBe(403)
  expect(count).toBe(2)
})
