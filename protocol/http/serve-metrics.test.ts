import { expect, test } from 'vitest'
import { serveMetrics } from './serve-metrics.ts'

const source = { read: async () => ({ text: 'up 1\n', type: 'text/plain' }) }

test('metrics are at their path; a port that is taken is told apart from an address that is not there', async () => {
  await using shown = await serveMetrics(source, { port: 0 })
  expect(await (await fetch(`http://127.0.0.1:${shown.port}/metrics`)).text()).toBe('up 1\n')
  expect((await fetch(`http://127.0.0.1:${shown.port}/`)).status).toBe(404)
  await expect(serveMetrics(source, { port: shown.port })).rejects.toMatchObject({ code: 'port_taken' })
  const elsewhere = serveMetrics(source, { port: 0, host: '192.0.2.1' })
  await expect(elsewhere).rejects.toMatchObject({ code: 'config_invalid' })
})
