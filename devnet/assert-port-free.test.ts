import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { assertPortFree } from './assert-port-free.ts'

test.each(['127.0.0.1', '0.0.0.0'])(
  'a port that somebody has on %s is taken, and free when he leaves',
  async (host) => {
    const server = createServer()
    await once(server.listen(0, host), 'listening')
    const { port } = server.address() as AddressInfo
    await expect(assertPortFree(port)).rejects.toMatchObject({ code: 'port_taken' })
    server.close()
    await once(server, 'close')
    await assertPortFree(port)
  },
)

test('any free port is always free', () => assertPortFree(0))
