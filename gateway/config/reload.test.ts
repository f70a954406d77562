import { expect, test } from 'vitest'
import { createTestLog } from '../../protocol/base/log.ts'
import { readSettings } from './read-settings.ts'
import { createReload } from './reload.ts'
import type { GatewaySettings } from './settings.ts'

const address = `0x${'a1'.repeat(20)}`
const chain = { rpc: 'http://rpc.example', chainId: 1, escrow: address, registry: address, usdc: address }

function settingsOf(values: Record<string, unknown>): GatewaySettings {
  const flags = { values: { chain, ...values }, nameOf: () => '' }
  return readSettings({ flags, env: {} })
}

test('limits and lists hold at once, what waits for a restart is named, and a broken file changes nothing', async () => {
  const log = createTestLog()
  const applied: unknown[] = []
  let values: Record<string, unknown> = {}
  const reload = createReload({
    log,
    read: async () => settingsOf(values),
    apply: ({ limits, deny }) => void applied.push([limits.client, deny.providers]),
    first: settingsOf({}),
  })
  values = { limits: { client: '5/1s' }, deny: { providers: ['mallory'] } }
  await reload()
  expect(applied).toEqual([[{ requests: 5, windowSeconds: 1 }, ['mallory']]])

  values = { limits: { client: 'many' } }
  await reload()
  expect(applied).toHaveLength(1)

  values = { limits: { client: 'none' }, deny: { providers: ['mallory'] }, port: 1 }
  await Promise.all([reload(), reload()])
  expect(applied.slice(1)).toEqual([
    [undefined, ['mallory']],
    [undefined, ['mallory']],
  ])
  const said = log.lines.map(({ level, event, facts: { error, ...facts } }) => [level, event, facts])
  expect(said).toEqual([
    ['info', 'config_reloaded', { changed: ['limits.client', 'deny.providers'], waitingForRestart: [] }],
    ['error', 'config_reload_failed', { code: 'usage_invalid', hint: expect.any(String) }],
    ['warn', 'config_reloaded', { changed: ['limits.client'], waitingForRestart: ['port'] }],
    ['warn', 'config_reloaded', { changed: [], waitingForRestart: ['port'] }],
  ])
  expect(log.lines[1]?.facts['error']).toContain('expected a quota such as 600/60s')
})
