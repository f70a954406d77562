import { readdirSync, readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { openGatewayFront } from '../test/support/gateway-front.ts'
import { openOrigin } from '../test/support/http-origin.ts'
import { frontRulesDefault } from './limits/front-rules.ts'
import { createOtlpTracer } from './observe/otlp-tracer.ts'

const alice = 'alice.localhost'
const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

/** A provider that keeps the headers of its requests. */
async function openListener() {
  const seen: IncomingMessage['headers'][] = []
  const origin = await openOrigin((request, response) => {
    seen.push(request.headers)
    response.end('four')
  })
  return { ...origin, seen, [Symbol.asyncDispose]: () => origin[Symbol.asyncDispose]() }
}

test('a trace that comes goes on as it is; where none or nonsense comes, one begins', async () => {
  await using provider = await openListener()
  await using front = await openGatewayFront({ alice: provider.url })
  const state = { tracestate: 'vendor=1' }
  await front.ask(alice, { headers: { traceparent: parent, ...state } })
  await front.ask(alice)
  await front.ask(alice, { headers: { traceparent: `${parent}-more`, ...state } })
  const [passed, begun, anew] = provider.seen
  expect(passed).toMatchObject({ traceparent: parent, ...state })
  expect(begun?.['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
  expect(anew?.['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
  expect(anew).not.toHaveProperty('tracestate')
  const traceIds = front.log.lines.flatMap(({ facts }) => facts['traceId'] ?? [])
  expect(traceIds).toEqual(provider.seen.map(({ traceparent }) => String(traceparent).split('-')[1]))
})

interface ExportedSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly attributes: readonly { readonly key: string; readonly value: Record<string, unknown> }[]
}

test('spans go to a collector as OTLP in JSON, under the trace of the caller', async () => {
  const bodies: unknown[] = []
  await using collector = await openOrigin(async (request, response) => {
    bodies.push([request.url, request.headers['content-type'], await json(request)])
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  })
  await using provider = await openListener()
  const dice = [0.9, 0.1]
  const tracer = createOtlpTracer({
    url: `${collector.url}/v1/traces`,
    sampleRatio: 0.5,
    random: () => dice.shift() ?? 0,
    version: '1.2.3',
    instance: 'gw',
  })
  const front = await openGatewayFront({ alice: provider.url }, { tracer })
  await front.ask(alice, { headers: { traceparent: parent } })
  await front.ask(alice, { headers: { traceparent: parent, tracestate: 'vendor=1', 'x-request-id': 'r-1' } })
  await front.ask('nobody.localhost')
  await front[Symbol.asyncDispose]()

  const [unsampled, sampled] = provider.seen.map(({ traceparent }) => String(traceparent))
  expect(unsampled).toBe(parent)
  expect(provider.seen[1]).toHaveProperty('tracestate', 'vendor=1')
  const spans = bodies.flatMap((body) => {
    const [path, type, sent] = body as [
      string,
      string,
      { resourceSpans: { resource: unknown; scopeSpans: { spans: ExportedSpan[] }[] }[] },
    ]
    expect([path, type]).toEqual(['/v1/traces', 'application/json'])
    return sent.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans))
  })
  expect(spans).toHaveLength(2)
  const [call, refused] = spans.map(({ attributes, ...span }) => ({
    ...span,
    facts: Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]])),
  }))
  const [, traceId, parentSpanId] = parent.split('-')
  expect(call).toMatchObject({ traceId, parentSpanId, kind: 2 })
  expect(sampled).toBe(`00-${traceId}-${call?.spanId}-01`)
  expect(call?.facts).toMatchObject({
    'http.request.method': 'GET',
    'http.response.status_code': 200,
    'http.response.body.size': 4,
    'khachapuri.provider': 'alice',
    'khachapuri.request_id': 'r-1',
  })
  expect(refused?.facts).toMatchObject({ 'error.type': 'provider_unknown', 'http.response.status_code': 404 })
})

test('a collector that is away harms nobody, and does not hold the gateway', async () => {
  await using provider = await openListener()
  const tracer = createOtlpTracer({
    ...{ url: 'http://127.0.0.1:1/v1/traces', sampleRatio: 1, random: () => 0, version: '1', instance: 'gw' },
  })
  await using front = await openGatewayFront({ alice: provider.url }, { tracer })
  expect((await front.ask(alice)).status).toBe(200)
})

test('metrics count what happened, under labels that no stranger chooses', async () => {
  await using provider = await openListener()
  const limits = { ...frontRulesDefault.limits, exempt: [], client: { requests: 4, windowSeconds: 60 } }
  await using front = await openGatewayFront(
    { alice: provider.url, bob: provider.url },
    { metrics: { providers: ['alice'] }, rules: { ...frontRulesDefault, limits } },
  )
  await front.ask(alice, { path: '/some-cid' })
  await front.ask('bob.localhost')
  await front.ask('nobody.localhost')
  await front.ask('localhost', { path: '/healthz' })
  await front.ask(alice)
  const { text } = await front.gateway.metrics.read()
  for (const line of [
    'requests_total{target="provider",status="2xx"} 2',
    'requests_total{target="provider",status="4xx"} 1',
    'requests_total{target="gateway",status="2xx"} 1',
    'requests_total{target="refused",status="4xx"} 1',
    'provider_requests_total{provider="alice",status="2xx"} 1',
    'provider_requests_total{provider="(others)",status="2xx"} 1',
    'problems_total{code="provider_unknown"} 1',
    'limited_total{limit="client"} 1',
    'sent_bytes_total 8',
    'requests_in_flight 0',
    'request_duration_seconds_count 3',
    'first_byte_seconds_count 2',
    'names 2',
    'ready 1',
  ]) {
    expect(text).toContain(`khachapuri_gateway_${line}\n`)
  }
  expect(text).toMatch(/khachapuri_gateway_connections \d+\n/)
  expect(text).toContain('process_resident_memory_bytes')
  for (const word of ['some-cid', 'bob', 'nobody', '127.0.0.1']) expect(text).not.toContain(word)
})

test('a WebSocket handshake that is refused is logged and counted like any request, and takes of its client', async () => {
  const limits = { ...frontRulesDefault.limits, exempt: [], client: { requests: 4, windowSeconds: 60 } }
  await using front = await openGatewayFront(
    {},
    { metrics: { providers: [] }, rules: { ...frontRulesDefault, limits } },
  )
  const shake = async (host: string, path: string) => {
    const headers = { connection: 'upgrade', upgrade: 'websocket' }
    const { status, code } = await front.ask(host, { path, headers })
    return [status, code]
  }
  expect(await shake('nobody.localhost', '/a?secret')).toEqual([404, 'provider_unknown'])
  expect(await shake('localhost', '/b')).toEqual([501, 'websocket_unsupported'])
  expect(await shake('b_d.localhost', '/c')).toEqual([400, 'name_malformed'])
  expect((await shake('evil..example', '/d'))[0]).toBe(421)
  // The door of the tunnels refuses who comes too often, too.
  for (const [host, path] of [
    ['localhost', '/_/tunnel'],
    ['nobody.localhost', '/e'],
  ] as const) {
    expect(await shake(host, path)).toEqual([429, 'too_many_requests'])
  }
  const logged = front.log.lines.flatMap(({ event, facts }) =>
    /^(?:call_proxied|request_served)$/.test(event) ? [[facts['path'], facts['status'], facts['code']]] : [],
  )
  expect(logged).toEqual([
    ['/a', 404, 'provider_unknown'],
    ['/b', 501, 'websocket_unsupported'],
    [undefined, 400, 'name_malformed'],
    [undefined, 421, 'host_unknown'],
    [undefined, 429, 'too_many_requests'],
    [undefined, 429, 'too_many_requests'],
  ])
  const { text } = await front.gateway.metrics.read()
  for (const line of [
    'requests_total{target="refused",status="4xx"} 4',
    'requests_total{target="provider",status="4xx"} 1',
    'requests_total{target="gateway",status="5xx"} 1',
    'limited_total{limit="client"} 2',
    'requests_in_flight 0',
  ]) {
    expect(text).toContain(`khachapuri_gateway_${line}\n`)
  }
})

test('every metric that the dashboard and its alerts name is there, and every one of ours is on the dashboard', async () => {
  await using front = await openGatewayFront({}, { metrics: { providers: [] } })
  const { text } = await front.gateway.metrics.read()
  const shown = new Set(
    [...text.matchAll(/^# TYPE (\w+) (\w+)/gm)].flatMap(([, name = '', type]) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_count`, `${name}_sum`] : [name],
    ),
  )
  const folder = join(import.meta.dirname, 'operate')
  const files = readdirSync(folder).filter((name) => /dashboard|alerts/.test(name))
  expect(files.sort()).toEqual(['alerts.yaml', 'grafana-dashboard.json'])
  for (const file of files) {
    const named =
      readFileSync(join(folder, file), 'utf8').match(/\b(?:khachapuri_gateway|nodejs|process)_\w+/g) ?? []
    expect(named.length).toBeGreaterThan(4)
    expect(named.filter((name) => !shown.has(name))).toEqual([])
  }
  const dashboard = JSON.parse(readFileSync(join(folder, 'grafana-dashboard.json'), 'utf8'))
  const queries = dashboard.panels.flatMap(({ targets }: { targets: { expr: string }[] }) =>
    targets.map(({ expr }) => expr),
  )
  const ours = [...text.matchAll(/^# TYPE (khachapuri_gateway_\w+)/gm)].map(([, name = '']) => name)
  expect(ours.filter((name) => !queries.join().includes(name))).toEqual([])
  const ids = dashboard.panels.map(({ id }: { id: number }) => id)
  expect(new Set(ids).size).toBe(ids.length)
})
