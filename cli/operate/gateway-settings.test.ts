import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readGatewaySettings } from './gateway-settings.ts'

const address = `0x${'a1'.repeat(20)}`
const chain = {
  rpc: 'http://rpc.example',
  'chain-id': '1',
  escrow: address,
  registry: address,
  usdc: address,
}

test('a mistake within a list is told with the flag, or the variable, that the list came by', async () => {
  const cwd = await mkdtemp(join(tmpdir(), 'gateway-settings-'))
  try {
    const flags = { ...chain, balancer: ['10.0.0.0/24', 'nonsense'], cluster: ['http://x'] }
    const env = { KHACHAPURI_GATEWAY_TRUSTED_PROXIES: '10.0.0.1, somewhere' }
    await expect(readGatewaySettings(flags, { cwd, env })).rejects.toMatchObject({
      code: 'config_invalid',
      message: `3 settings of the gateway are wrong:
  --balancer: expected an address or a network such as 10.0.0.0/8
  --cluster: expected nats://host:4222
  KHACHAPURI_GATEWAY_TRUSTED_PROXIES: expected an address or a network such as 10.0.0.0/8`,
    })
    const { settings } = await readGatewaySettings({ ...chain, balancer: ['::1'] }, { cwd, env: {} })
    expect(settings.balancers).toEqual(['::1'])
  } finally {
    await rm(cwd, { recursive: true })
  }
})
