import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createTestUser } from '../../testing.ts'

const address = `0x${'a1'.repeat(20)}`
const chain = { rpc: 'http://rpc.example', chainId: 1, escrow: address, registry: address, usdc: address }

test('good settings are shown as the gateway will have them, without a chain and without a gateway', async () => {
  await using user = await createTestUser()
  await writeFile(join(user.dir, 'gateway.json'), JSON.stringify({ port: 8081, chain }))
  const { exitCode, json } = await user.run(
    ['gateway', 'check-config', '--config', 'gateway.json', '--host', '::1', '--dir', 'kept', '--json'],
    { env: { KHACHAPURI_GATEWAY_LOG_LEVEL: 'info' } },
  )
  expect(exitCode).toBe(0)
  expect(json()).toMatchObject({
    configPath: join(user.dir, 'gateway.json'),
    settings: { port: 8081, host: '::1', dir: join(user.dir, 'kept'), log: { level: 'info' } },
  })
})

test('bad ones are refused with every mistake and its place, before anything is started', async () => {
  await using user = await createTestUser()
  await writeFile(
    join(user.dir, 'gateway.json'),
    JSON.stringify({ prot: 8081, chain: { ...chain, rpc: 'x' } }),
  )
  for (const verb of ['check-config', 'up']) {
    const { exitCode, stderr } = await user.run(
      ['gateway', verb, '--config', 'gateway.json', '--port', 'many'],
      { env: { KHACHAPURI_GATEWAY_ALLOW_PRIVATE: 'yes' } },
    )
    expect(exitCode).toBe(1)
    for (const place of [
      `${join(user.dir, 'gateway.json')}, prot: no setting has this name`,
      `${join(user.dir, 'gateway.json')}, chain.rpc: expected the URL of a JSON-RPC server, or several with commas between`,
      'KHACHAPURI_GATEWAY_ALLOW_PRIVATE: ',
      '--port: ',
      '(config_invalid)',
    ]) {
      expect(stderr).toContain(place)
    }
  }
})

test('a file that is not there is said', async () => {
  await using user = await createTestUser()
  const { json } = await user.run(['gateway', 'check-config', '--config', 'none.json', '--json'])
  expect(json()).toMatchObject({
    code: 'config_invalid',
    detail: `There is no file ${join(user.dir, 'none.json')}.`,
  })
})
