import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import forge from 'node-forge'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import type { Egress } from '../../protocol/egress.ts'
import type { Lookup } from '../../protocol/http/dial-checked.ts'
import { createJsRuntime } from '../../provider/runtime/js/js-runtime.ts'
import type { Instance, Runtime } from '../../provider/runtime/runtime.ts'
import { sendCall } from './send-call.ts'

const never = new AbortController().signal

/** A resolver whose answers a test decides. */
export interface Names {
  readonly lookup: Lookup
  /** What each question gets, in this order; the last answer stays. */
  set(hostname: string, ...answers: readonly (readonly string[])[]): void
  /** Questions so far. */
  readonly asked: readonly string[]
}

/** Every name ending in `.test` is this machine, unless set otherwise. */
export function createNames(): Names {
  const table = new Map<string, (readonly string[])[]>()
  const asked: string[] = []
  return {
    asked,
    set: (hostname, ...answers) => void table.set(hostname, [...answers]),
    lookup(hostname, answer) {
      asked.push(hostname)
      const answers = table.get(hostname)
      const addresses = (answers && answers.length > 1 ? answers.shift() : answers?.[0]) ?? []
      const found = answers ? addresses : hostname.endsWith('.test') ? ['127.0.0.1'] : undefined
      if (found)
        answer(
          null,
          found.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
        )
      else answer(Object.assign(new Error('not found'), { code: 'ENOTFOUND' }), [])
    },
  }
}

/** What a step of the program below saw. */
export interface Seen {
  readonly status?: number
  /** `Khachapuri-Egress` */
  readonly code?: string | null
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly bytes?: number
  readonly error?: string
}

export interface Step {
  readonly url?: string
  readonly init?: Readonly<Record<string, unknown>>
  /** host:port for `connect()`, with what to write. */
  readonly connect?: string
  readonly write?: string
  /** Only counts the bytes of the answer. */
  readonly counts?: boolean
}

/** Fetches what each call tells it to, and tells what came of it. */
export const fetcher = `
import { connect } from 'cloudflare:sockets'
export default {
  async fetch(request) {
    const { steps, together } = await request.json()
    if (together) return Response.json(await Promise.all(steps.map(run)))
    const seen = []
    for (const step of steps) seen.push(await run(step))
    return Response.json(seen)
  },
}
async function run({ url, init, connect: place, write, counts }) {
  try {
    if (place) return await talk(place, write)
    const answer = await fetch(url, init)
    const head = { status: answer.status, code: answer.headers.get('khachapuri-egress'), headers: Object.fromEntries(answer.headers) }
    try {
      if (!counts) return { ...head, body: await answer.text() }
      let bytes = 0
      for await (const chunk of answer.body) bytes += chunk.length
      return { ...head, bytes }
    } catch (error) {
      return { ...head, error: String(error) }
    }
  } catch (error) {
    return { error: String(error) }
  }
}
async function talk(place, write) {
  const socket = connect(place)
  await socket.opened
  const writer = socket.writable.getWriter()
  if (write) await writer.write(new TextEncoder().encode(write))
  let body = ''
  for await (const chunk of socket.readable) {
    body += new TextDecoder().decode(chunk)
    if (body.endsWith('\\n')) break
  }
  await socket.close()
  return { body }
}
`

export interface EgressBench extends AsyncDisposable {
  readonly names: Names
  readonly runtime: Runtime
  start(options: {
    readonly egress?: Egress
    readonly source?: string
    readonly timeoutMs?: number
  }): Promise<Instance>
}

/** workerd in its sandbox, in a network whose names a test decides. */
export async function openEgressBench({
  allowPrivate = true,
  ca,
}: {
  allowPrivate?: boolean
  ca?: string
} = {}): Promise<EgressBench> {
  const names = createNames()
  const network = { lookup: names.lookup, allowPrivate, ...(ca !== undefined && { ca }) }
  const runtime = await createJsRuntime(
    { clock: systemClock, log: createTestLog(), network },
    { zygotes: 1 },
    never,
  )
  return {
    names,
    runtime,
    start: ({ egress, source = fetcher, timeoutMs = 10_000 }) =>
      runtime.start(
        { files: [{ path: 'index.js', bytes: Buffer.from(source) }], entry: 'index.js' },
        {
          env: {},
          params: null,
          limits: { timeoutMs, memoryMiB: 64, ...(egress !== undefined && { egress }) },
        },
        never,
      ),
    [Symbol.asyncDispose]: async () => await runtime[Symbol.asyncDispose](),
  }
}

/** Has the program take these steps, one after the other or all at once. */
export async function take(instance: Instance, steps: readonly Step[], together = false): Promise<Seen[]> {
  const body = Buffer.from(JSON.stringify({ steps, together }))
  const answer = await sendCall(instance, { method: 'POST', body })
  if (answer.outcome.kind !== 'answered') throw new Error(JSON.stringify(answer.outcome))
  return JSON.parse(answer.body.toString())
}

/** A certificate for these names, and the authority that signed it. */
export function issueCertificate(names: readonly string[]): { key: string; cert: string; ca: string } {
  const authority = makeKey()
  const server = makeKey()
  const ca = forge.pki.createCertificate()
  const subject = [{ name: 'commonName', value: 'Test authority' }]
  sign(
    ca,
    { serial: '01', subject, publicKey: authority.publicPem },
    { issuer: subject, key: authority.privatePem },
    [{ name: 'basicConstraints', cA: true }],
  )
  const cert = forge.pki.createCertificate()
  const commonName = [{ name: 'commonName', value: names[0] ?? '' }]
  sign(
    cert,
    { serial: '02', subject: commonName, publicKey: server.publicPem },
    { issuer: subject, key: authority.privatePem },
    [{ name: 'subjectAltName', altNames: names.map((value) => ({ type: 2, value })) }],
  )
  return {
    key: server.privatePem,
    cert: forge.pki.certificateToPem(cert),
    ca: forge.pki.certificateToPem(ca),
  }
}

function makeKey(): { publicPem: string; privatePem: string } {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const privatePem = privateKey.export({ format: 'pem', type: 'pkcs1' }).toString()
  const publicPem = createPublicKey(createPrivateKey(privatePem))
    .export({ format: 'pem', type: 'spki' })
    .toString()
  return { publicPem, privatePem }
}

function sign(
  cert: forge.pki.Certificate,
  {
    serial,
    subject,
    publicKey,
  }: { serial: string; subject: forge.pki.CertificateField[]; publicKey: string },
  { issuer, key }: { issuer: forge.pki.CertificateField[]; key: string },
  extensions: object[],
): void {
  cert.publicKey = forge.pki.publicKeyFromPem(publicKey)
  cert.serialNumber = serial
  cert.validity.notBefore = new Date(Date.now() - 3_600_000)
  cert.validity.notAfter = new Date(Date.now() + 3_600_000)
  cert.setSubject(subject)
  cert.setIssuer(issuer)
  cert.setExtensions(extensions)
  cert.sign(forge.pki.privateKeyFromPem(key), forge.md.sha256.create())
}

/** A real HTTPS server on a free port of this machine. */
export async function openSecureOrigin(
  { key, cert }: { key: string; cert: string },
  listener: RequestListener,
): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createSecureServer({ key, cert }, listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Open sockets of this process, of any kind. */
export function countSockets(): number {
  return process.getActiveResourcesInfo().filter((kind) => /TCP|Pipe|TLS/.test(kind)).length
}

/** The Unix sockets of egress proxies on this machine, by path. */
export function egressSockets(): string[] {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.split(/\s+/)[7] ?? '')
    .filter((path) => new RegExp(`/khp-${process.pid}-[^/]+/\\d+/e$`).test(path))
}
