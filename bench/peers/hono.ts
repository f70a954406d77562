import { serve } from '@hono/node-server'
import { Hono } from 'hono'

/** The hello program as most people would serve it. */
const app = new Hono().get('/', (c) => c.text('Hello, world!\n'))
serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
  console.log(JSON.stringify({ port }))
})
