import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { setupTunnel } from '../support/tunnels.ts'

test('a plain handler answers through a tunnel', async () => {
  await using setup = await setupTunnel((request, response) => {
    response.writeHead(201, ['X-Case', 'Kept', 'x-case', 'twice', 'content-type', 'text/plain'])
    response.end(`${request.method} ${request.url} ${request.headers['x-a']}`)
  })
  const answer = await fetch(`${setup.gateway.url}/path?q=1`, { headers: { 'x-a': 'b' } })
  expect([answer.status, answer.headers.get('x-case'), await answer.text()]).toEqual([
    201,
    'Kept, twice',
    'GET /path?q=1 b',
  ])
})

test('a Hono app answers through a tunnel', async () => {
  const app = new Hono()
  app.get('/hello/:name', (c) => c.json({ hello: c.req.param('name') }))
  app.post('/echo', async (c) =>
    c.body(await c.req.arrayBuffer(), 200, { 'x-type': c.req.header('content-type') ?? '' }),
  )
  app.post('/stream', (c) => c.body(c.req.raw.body))
  app.get('/empty', (c) => c.body(null, 204))
  await using setup = await setupTunnel(
    getRequestListener(app.fetch, { overrideGlobalObjects: false }) as unknown as Parameters<
      typeof setupTunnel
    >[0],
  )
  const { url } = setup.gateway
  expect(await (await fetch(`${url}/hello/world`)).json()).toEqual({ hello: 'world' })
  const body = Buffer.alloc(3_000_000, 'abc')
  for (const path of ['/echo', '/stream']) {
    const answer = await fetch(url + path, { method: 'POST', body, headers: { 'content-type': 'a/b' } })
    expect(Buffer.from(await answer.arrayBuffer()).equals(body)).toBe(true)
  }
  expect((await fetch(`${url}/empty`)).status).toBe(204)
  expect((await fetch(`${url}/hello/world`, { method: 'HEAD' })).status).toBe(200)
  expect((await fetch(`${url}/nowhere`)).status).toBe(404)
})
