import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { createHttpPool, type HttpPool } from '../../protocol/http/h1-client.ts'
import type { UpstreamRequest } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { formatUsdc, type Usdc } from '../../protocol/usdc.ts'
import { loopbackLookup } from '../../tunnel-client/loopback-lookup.ts'
import { type CallTerms, readCallTerms } from '../bench/read-terms.ts'
import { type LoadResult, runLoad } from '../bench/run-load.ts'
import { type CallRequest, parseRequest, requestOptions } from '../call/request.ts'
import { type CommandContext, defineCommand, usageError } from '../command.ts'
import { parseCount, parseDuration } from '../duration.ts'
import { formatBytes } from '../format.ts'
import { parseHttpUrl } from '../market/market.ts'
import { writeOptions } from '../market/options.ts'

export const bench = defineCommand({
  usage: 'bench <url>',
  details:
    'Sends one request again and again over keep-alive connections, and shows how long whole answers took. What the calls will\n' +
    'cost at most, and whom, is said and asked for before the first; a paid URL gets at most 1000 calls unless --max-calls\n' +
    'says otherwise, and never one more. Ctrl-C ends it early, with what was measured.',
  options: {
    connections: { type: 'string', short: 'c', value: '<n>', default: '10', help: 'Calls at a time' },
    duration: { type: 'string', short: 'd', value: '<time>', default: '10s', help: 'For how long' },
    'max-calls': {
      type: 'string',
      value: '<n>',
      help: 'The most calls (default: 1000 where they cost money)',
    },
    ...requestOptions,
    data: { type: 'string', value: '<data>', help: 'The body; @file for a file, @- for standard input' },
    pass: { type: 'string', value: '<token>', help: 'Pay by a pass (or set KHACHAPURI_PASS)' },
    ...writeOptions,
  },
  examples: [
    'bench http://localhost:8787/hello',
    'bench http://alice.localhost:8080/<cid>/ -c 32 -d 30s --max-calls 5000',
  ],
  async run({ positionals: [urlText = ''], values }, context) {
    const { clock, signal } = context
    const connections = parseCount('connections', values.connections, {
      min: 1,
      max: limits.benchConnectionsMax,
    })
    const seconds = parseDuration('duration', values.duration)
    if (seconds > limits.benchDurationSecondsMax)
      throw usageError('That is too long.', `Use at most ${limits.benchDurationSecondsMax}s.`)
    const own = values.header ?? []
    const url = parseHttpUrl('<url>', urlText)
    const terms = await readCallTerms(url, signal)
    // Who asks for no money need not see what is worth some.
    const pass = values.pass ?? (terms && context.env['KHACHAPURI_PASS'])
    const isPaid = own.some((line) => /^authorization:/i.test(line))
    const header = pass && !isPaid ? [...own, `Authorization: Bearer ${pass}`] : own
    const request = await parseRequest(urlText, { ...values, header }, context)
    const callsMax = parseMax(values['max-calls'], terms)
    const plan = { connections, seconds, callsMax }
    announce({ request, terms, ...plan }, context)
    const worstUsdc = terms && ((terms.priceUsdc * BigInt(callsMax)) as Usdc)
    if (values['dry-run']) {
      const facts = { dryRun: true, ...plan, priceUsdc: terms?.priceUsdc ?? 0n, worstUsdc: worstUsdc ?? 0n }
      return context.print('Nothing was called (--dry-run).', facts)
    }
    if (worstUsdc && !values.yes) await context.confirm('Go ahead?')
    using pool = openPool(request.url, connections)
    const options = { request: toUpstream(request), connections, durationMs: seconds * 1000, callsMax }
    const result = await runLoad({ clock, upstream: pool }, options, signal)
    context.print(formatResult(result), factsOf(result))
  },
})

function parseMax(text: string | undefined, terms: CallTerms | undefined): number {
  if (text !== undefined) return parseCount('max-calls', text, { min: 1, max: limits.benchCallsMax })
  return terms ? limits.benchPaidCallsDefault : limits.benchCallsMax
}

function announce(
  {
    request: { url, method, headers },
    terms,
    connections,
    seconds,
    callsMax,
  }: {
    readonly request: CallRequest
    readonly terms: CallTerms | undefined
    readonly connections: number
    readonly seconds: number
    readonly callsMax: number
  },
  { note }: CommandContext,
): void {
  const most = callsMax < limits.benchCallsMax ? `, at most ${callsMax} calls` : ''
  note(`${method} ${url.href} over ${connections} connections for ${seconds} s${most}.`)
  if (!terms) {
    note('Nobody there asks for money.')
    return
  }
  const { priceUsdc, deployment } = terms
  const isPass = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization')
  const who = isPass
    ? 'paid by whoever made the pass'
    : deployment === undefined || deployment.payer === 'caller'
      ? 'which nobody pays without a pass, so they will be refused'
      : `paid by its owner ${deployment.owner}, within its policy`
  const worst = formatUsdc((priceUsdc * BigInt(callsMax)) as Usdc)
  note(`Each call costs ${formatUsdc(priceUsdc)} USDC, ${who}: at most ${worst} USDC in all.`)
}

function openPool(url: URL, connectionsMax: number): HttpPool {
  const { hostname } = url
  const isTls = url.protocol === 'https:'
  const port = Number(url.port) || (isTls ? 443 : 80)
  const host = hostname.replace(/^\[|\]$/g, '')
  return createHttpPool({
    connect: () =>
      isTls
        ? connectTls({ host, port, servername: host, lookup: loopbackLookup })
        : connectTcp({ host, port, noDelay: true, lookup: loopbackLookup }),
    connectionsMax,
  })
}

function toUpstream({ url, method, headers, body }: CallRequest): UpstreamRequest {
  const rawHeaders = ['host', url.host, ...Object.entries(headers).flat()]
  const head = { method, target: `${url.pathname}${url.search}` }
  if (!body) return { ...head, rawHeaders }
  return {
    ...head,
    rawHeaders: [...rawHeaders, 'content-length', String(body.byteLength)],
    body: Buffer.from(body),
  }
}

const percentiles = [50, 75, 90, 99, 99.9] as const

function factsOf({ latency, elapsedMs, ...result }: LoadResult) {
  const { min, mean, max } = latency
  const toMs = (us: number) => Math.round(us) / 1000
  const isEmpty = latency.count === 0
  return {
    ...result,
    elapsedMs: Math.round(elapsedMs),
    callsPerSecond: Math.round((latency.count / elapsedMs) * 10_000) / 10,
    latencyMs: isEmpty
      ? null
      : {
          min: toMs(min),
          mean: toMs(mean),
          ...Object.fromEntries(percentiles.map((p) => [`p${p}`, toMs(latency.percentile(p))])),
          max: toMs(max),
        },
  }
}

function formatResult(result: LoadResult): string {
  const { sent, statuses, refused, failures, bytes, elapsedMs, chargedUsdc } = result
  const { callsPerSecond, latencyMs } = factsOf(result)
  const count = (all: Readonly<Record<string, number>>) =>
    Object.entries(all).map(([what, times]) => `${what}: ${times}`)
  const row = (name: string, text: string) => `${name.padEnd(11)}${text}`
  return [
    row(
      'calls',
      `${sent} in ${(elapsedMs / 1000).toFixed(2)} s, ${callsPerSecond} a second, ${formatBytes(bytes)} of bodies`,
    ),
    row('answers', [...count(statuses), ...count(failures)].join(', ')),
    ...(refused > 0 ? [row('refused', `${refused} of them by the network, not by the program`)] : []),
    ...(latencyMs === null
      ? []
      : [
          row(
            'latency',
            Object.entries(latencyMs)
              .map(([name, ms]) => `${name} ${ms} ms`)
              .join(', '),
          ),
        ]),
    ...(chargedUsdc > 0n ? [row('charged', `${formatUsdc(chargedUsdc)} USDC, as the provider says`)] : []),
  ].join('\n')
}
