import { EventEmitter, once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import {
  countSockets,
  egressSockets,
  issueCertificate,
  openEgressBench,
  openSecureOrigin,
  take,
} from '../support/egress.ts'
import { openOrigin } from '../support/http-origin.ts'
import { sendCall } from '../support/send-call.ts'

/** What programs reach: workerd in its sandbox, real servers on this machine, names that the test decides. */

const certificate = issueCertificate(['api.example.test'])
const bench = await openEgressBench({ ca: certificate.ca })
afterAll(() => bench[Symbol.asyncDispose]())

test('a program fetches what its deployment lists, as it wrote it', async () => {
  await using origin = await openOrigin((request, response) => {
    const { method, url, rawHeaders } = request
    request.toArray().then((chunks) => {
      response.setHeader('set-cookie', ['a=1', 'b=2'])
      response.setHeader('x-name', 'ü'.normalize('NFC'))
      response.setHeader('khachapuri-egress', 'forged')
      response
        .writeHead(207)
        .end(JSON.stringify({ method, url, rawHeaders, body: Buffer.concat(chunks).toString() }))
    })
  })
  const url = `http://api.example.test:${origin.port}`
  await using program = await bench.start({ egress: [url] })
  const init = {
    method: 'PUT',
    body: 'grüße',
    headers: { 'X-Own': '1', host: 'other.example.test', te: 'trailers' },
  }
  const [seen] = await take(program, [{ url: `${url}/a%20b?c=d&e`, init }])
  expect(seen).toMatchObject({ status: 207, code: null })
  const request = JSON.parse(seen?.body ?? '')
  expect(request).toMatchObject({ method: 'PUT', url: '/a%20b?c=d&e', body: 'grüße' })
  const header = (name: string) =>
    request.rawHeaders.filter(
      (_: string, i: number) => request.rawHeaders[i - (i % 2)].toLowerCase() === name,
    )
  expect(header('host')).toEqual(['host', `api.example.test:${origin.port}`])
  expect(header('x-own')).toEqual(['X-Own', '1'])
  expect(header('content-length')).toEqual(['content-length', '7'])
  expect(header('te')).toEqual([])
  expect(program.usage().egress).toMatchObject({ requests: 1 })
})

test('https begins at the provider, with the certificate checked', async () => {
  await using origin = await openSecureOrigin(certificate, (_, response) => response.end('secret'))
  const urls = ['api', 'other'].map((name) => `https://${name}.example.test:${origin.port}`)
  await using program = await bench.start({ egress: urls })
  const [good, bad] = await take(
    program,
    urls.map((url) => ({ url })),
  )
  expect(good).toMatchObject({ status: 200, body: 'secret' })
  expect(bad).toMatchObject({ status: 502, code: 'egress_unreachable' })
  expect(bad?.body).toContain('ERR_TLS_CERT_ALTNAME_INVALID')
})

test('what is not listed is refused with a reason, and nobody is asked for it', async () => {
  await using origin = await openOrigin((_, response) => response.end('reached'))
  const asked = bench.names.asked.length
  await using program = await bench.start({ egress: ['https://api.example.test'] })
  const steps = [`http://api.example.test:${origin.port}/`, 'https://evil.example.test/', 'http://127.0.0.1/']
  for (const seen of await take(
    program,
    steps.map((url) => ({ url })),
  )) {
    expect(seen).toMatchObject({ status: 403, code: 'egress_not_allowed' })
    expect(JSON.parse(seen.body ?? '')).toMatchObject({ code: 'egress_not_allowed', status: 403 })
  }
  expect(bench.names.asked.length).toBe(asked)
  expect(origin.requests()).toBe(0)
})

test('redirects are the program’s own, and looked at anew', async () => {
  await using origin = await openOrigin((request, response) => {
    const location = request.url === '/out' ? 'http://evil.example.test/' : '/there'
    if (request.url === '/there') response.end('arrived')
    else response.writeHead(302, { location }).end()
  })
  const url = `http://api.example.test:${origin.port}`
  await using program = await bench.start({ egress: [url] })
  expect(
    await take(program, [
      { url: `${url}/in` },
      { url: `${url}/out` },
      { url: `${url}/in`, init: { redirect: 'manual' } },
    ]),
  ).toMatchObject([
    { status: 200, body: 'arrived' },
    { status: 403, code: 'egress_not_allowed' },
    { status: 302 },
  ])
})

test('connect() reaches listed places, both ways, and no others', async () => {
  const server = createServer((socket) => socket.on('data', (bytes) => socket.write(`echo ${bytes}`))).listen(
    0,
    '127.0.0.1',
  )
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await using program = await bench.start({ egress: [`http://echo.example.test:${port}`] })
  const [there, elsewhere, local] = await take(program, [
    { connect: `echo.example.test:${port}`, write: 'hello\n' },
    { connect: `other.example.test:${port}`, write: 'hello\n' },
    { connect: `127.0.0.1:${port}`, write: 'hello\n' },
  ])
  expect(there).toEqual({ body: 'echo hello\n' })
  for (const seen of [elsewhere, local]) expect(seen?.error).toContain('cannot connect')
  server.close()
})

test('"public" has the ports of the web and nothing that is not on the public internet', async () => {
  await using origin = await openOrigin((_, response) => response.end('reached'))
  await using closed = await openEgressBench({ allowPrivate: false })
  closed.names.set('inside.example.test', ['10.0.0.1'])
  await using program = await closed.start({ egress: 'public' })
  expect(
    await take(program, [
      { url: `http://api.example.test:${origin.port}/` },
      { url: 'http://api.example.test/' },
      { url: 'https://inside.example.test/' },
      { url: 'http://169.254.169.254/latest/meta-data' },
      { url: 'http://nowhere.invalid/' },
    ]),
  ).toMatchObject([
    { code: 'egress_not_allowed' },
    { code: 'egress_address_blocked' },
    { code: 'egress_address_blocked' },
    { code: 'egress_address_blocked' },
    { code: 'egress_name_unknown' },
  ])
  expect(origin.requests()).toBe(0)
})

test('without egress there is no proxy and no way out', async () => {
  await using origin = await openOrigin((_, response) => response.end('reached'))
  await using program = await bench.start({})
  expect(egressSockets()).toEqual([])
  const [seen] = await take(program, [{ url: `http://api.example.test:${origin.port}/` }])
  expect(seen?.error).toBeDefined()
  expect(program.usage().egress).toBeUndefined()
})

test('a large body flows both ways without being held, and a slow reader slows its server', async () => {
  const total = 24 * 1024 * 1024
  let sentBytes = 0
  let receivedBytes = 0
  await using origin = await openOrigin(async (request, response) => {
    if (request.method === 'POST') {
      for await (const chunk of request) receivedBytes += chunk.length
      response.end(String(receivedBytes))
      return
    }
    const chunk = Buffer.alloc(64 * 1024, 'x')
    while (sentBytes < total && !response.destroyed) {
      sentBytes += chunk.length
      if (!response.write(chunk)) await once(response, 'drain').catch(() => undefined)
    }
    response.end()
  })
  const url = `http://api.example.test:${origin.port}`
  const source = `
    export default {
      async fetch(request) {
        if (request.method === 'POST') return fetch(request.headers.get('x-url'), { method: 'POST', body: request.body })
        return fetch(request.headers.get('x-url'))
      },
    }`
  await using program = await bench.start({ egress: [url], source })
  const rawHeaders = ['x-url', url]
  const upload = await sendCall(program, { method: 'POST', rawHeaders, body: Buffer.alloc(8 * 1024 * 1024) })
  expect(upload.body.toString()).toBe(String(8 * 1024 * 1024))

  let got = 0
  const { promise: whole, resolve } = Promise.withResolvers<unknown>()
  const { promise: began, resolve: begin } = Promise.withResolvers<void>()
  const exchange = program.call(
    { method: 'GET', target: '/', rawHeaders: ['host', 'x', ...rawHeaders] },
    {
      onHead: () => undefined,
      onData: (chunk) => {
        got += chunk.length
        begin()
      },
      onEnd: resolve,
    },
  )
  await began
  exchange.pause()
  // In the time that this takes, the server could have sent it all.
  await sendCall(program, { method: 'POST', rawHeaders, body: Buffer.alloc(8 * 1024 * 1024) })
  expect(sentBytes).toBeLessThan(total)
  exchange.resume()
  expect(await whole).toEqual({ kind: 'answered' })
  expect(got).toBe(total)
})

test('a call that is given up takes its requests with it, and a program that ends all its connections', async () => {
  const events = new EventEmitter()
  await using origin = await openOrigin((request, response) => {
    response.on('close', () => events.emit(`closed ${request.url}`))
    response.write('a little')
    events.emit(`began ${request.url}`)
  })
  const url = `http://api.example.test:${origin.port}`
  const source = `export default { fetch: (request) => fetch('${url}' + new URL(request.url).pathname) }`
  const before = countSockets()
  const program = await bench.start({ egress: [url], source })
  expect(egressSockets()).toHaveLength(1)
  const silent = { onHead: () => undefined, onData: () => undefined, onEnd: () => undefined }
  const call = async (target: string) => {
    const began = once(events, `began ${target}`)
    const exchange = program.call({ method: 'GET', target, rawHeaders: ['host', 'x'] }, silent)
    await began
    return exchange
  }
  const left = await call('/left')
  const leftClosed = once(events, 'closed /left')
  left.abort()
  await leftClosed

  await Promise.all(['/1', '/2', '/3'].map(call))
  const allClosed = Promise.all(['/1', '/2', '/3'].map((path) => once(events, `closed ${path}`)))
  await program[Symbol.asyncDispose]()
  await allClosed
  expect(egressSockets()).toEqual([])
  origin.server.closeAllConnections()
  while (countSockets() > before) await turn()
})
