import { randomBytes, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json, text } from 'node:stream/consumers'
import forge from 'node-forge'
import { createDevAuthority } from '../../gateway/tls/dev-authority.ts'

const { asn1, pki } = forge

/** An ACME authority (RFC 8555) that comes by HTTP for its proofs, gives certificates for them, and looks at no signature. */
export interface AcmeAuthority extends AsyncDisposable {
  readonly directoryUrl: string
  /** Hosts of each order so far. */
  readonly orders: readonly (readonly string[])[]
  /** What it found at the hosts, by host. */
  readonly proofs: ReadonlyMap<string, string>
}

interface Order {
  readonly hosts: readonly string[]
  readonly valid: Set<string>
  isRefused: boolean
  chain: string | undefined
}

/** @param place - Where it comes for proofs, whatever the host; it looks no name up. */
export async function openAcmeAuthority(place: {
  readonly host: string
  readonly port: number
}): Promise<AcmeAuthority> {
  const nowMs = Date.now()
  const root = await createDevAuthority(['localhost'], nowMs)
  const orders: Order[] = []
  const proofs = new Map<string, string>()

  async function prove(host: string, token: string): Promise<boolean> {
    const asked = request({
      ...place,
      path: `/.well-known/acme-challenge/${token}`,
      headers: { host },
      agent: false,
    })
    asked.end()
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    const proof = await text(answer)
    proofs.set(host, proof)
    return answer.statusCode === 200 && proof.startsWith(`${token}.`)
  }

  const server = createServer((incoming, response) => {
    serve(incoming, response).catch((error) => {
      response.writeHead(500, { 'content-type': 'application/problem+json' })
      response.end(JSON.stringify({ detail: String(error) }))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const describeOrder = ({ hosts, valid, chain }: Order, id: number) => ({
    status: chain !== undefined ? 'valid' : valid.size === hosts.length ? 'ready' : 'pending',
    identifiers: hosts.map((value) => ({ type: 'dns', value })),
    authorizations: hosts.map((_, at) => `${origin}/authz/${id}/${at}`),
    finalize: `${origin}/finalize/${id}`,
    ...(chain !== undefined && { certificate: `${origin}/cert/${id}` }),
  })
  const describeChallenge = ({ hosts, valid, isRefused }: Order, id: number, at: number) => ({
    type: 'http-01',
    url: `${origin}/challenge/${id}/${at}`,
    token: `token-${id}-${at}`,
    status: valid.has(hosts[at] as string) ? 'valid' : isRefused ? 'invalid' : 'pending',
    ...(isRefused && { error: { detail: 'no proof', status: 403 } }),
  })

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, kind = '', idText = '', atText = ''] = (incoming.url ?? '').split('/')
    const id = Number(idText)
    const at = Number(atText)
    const order = orders[id]
    const answer = (status: number, body: unknown, headers: Record<string, string> = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', 'replay-nonce': 'n', ...headers })
      response.end(JSON.stringify(body))
    }
    if (incoming.method !== 'POST') {
      incoming.resume()
      const at = (path: string) => `${origin}/${path}`
      return answer(200, { newNonce: at('nonce'), newAccount: at('account'), newOrder: at('order') })
    }
    const { payload } = (await json(incoming)) as { payload: string }
    const said = payload === '' ? {} : JSON.parse(Buffer.from(payload, 'base64url').toString())
    if (kind === 'account') return answer(201, { status: 'valid' }, { location: `${origin}/account/1` })
    if (kind === 'order' && idText === '') {
      const hosts = said.identifiers.map(({ value }: { value: string }) => value)
      const made: Order = { hosts, valid: new Set(), isRefused: false, chain: undefined }
      orders.push(made)
      const number = orders.length - 1
      return answer(201, describeOrder(made, number), { location: `${origin}/order/${number}` })
    }
    if (!order) return answer(404, { detail: 'nothing here' })
    if (kind === 'order') return answer(200, describeOrder(order, id))
    if (kind === 'authz') {
      const challenge = describeChallenge(order, id, at)
      const identifier = { type: 'dns', value: order.hosts[at] }
      return answer(200, { status: challenge.status, identifier, challenges: [challenge] })
    }
    if (kind === 'challenge') {
      const host = order.hosts[at] as string
      if (await prove(host, `token-${id}-${at}`)) order.valid.add(host)
      else order.isRefused = true
      return answer(200, describeChallenge(order, id, at))
    }
    if (kind === 'finalize') {
      order.chain = issue(root, order.hosts, { csr: said.csr, nowMs })
      return answer(200, describeOrder(order, id), { location: `${origin}/order/${id}` })
    }
    response.writeHead(200, { 'content-type': 'application/pem-certificate-chain', 'replay-nonce': 'n' })
    response.end(order.chain)
  }

  return {
    directoryUrl: `${origin}/directory`,
    get orders() {
      return orders.map(({ hosts }) => hosts)
    },
    proofs,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** node-forge knows RSA keys only: the key of the request, of whatever kind, replaces one of those. */
function issue(
  root: { readonly cert: string; readonly key: string },
  hosts: readonly string[],
  { csr, nowMs }: { readonly csr: string; readonly nowMs: number },
): string {
  const issuer = pki.certificateFromPem(root.cert)
  const draft = pki.createCertificate()
  draft.publicKey = issuer.publicKey
  draft.serialNumber = `01${randomBytes(15).toString('hex')}`
  draft.validity.notBefore = new Date(nowMs - 86_400_000)
  draft.validity.notAfter = new Date(nowMs + 90 * 86_400_000)
  draft.setSubject([{ name: 'commonName', value: hosts[0] as string }])
  draft.setIssuer(issuer.subject.attributes)
  draft.setExtensions([{ name: 'subjectAltName', altNames: hosts.map((value) => ({ type: 2, value })) }])
  draft.sign(pki.privateKeyFromPem(root.key), forge.md.sha256.create())

  const childrenOf = (node: forge.asn1.Asn1) => node.value as forge.asn1.Asn1[]
  const asked = asn1.fromDer(Buffer.from(csr, 'base64url').toString('binary'))
  const [info] = childrenOf(asked)
  const whole = pki.certificateToAsn1(draft)
  const [body, , signature] = childrenOf(whole) as [forge.asn1.Asn1, forge.asn1.Asn1, forge.asn1.Asn1]
  const publicKeyAt = 6
  childrenOf(body)[publicKeyAt] = childrenOf(info as forge.asn1.Asn1)[2] as forge.asn1.Asn1
  const signed = sign('sha256', Buffer.from(asn1.toDer(body).getBytes(), 'binary'), root.key)
  signature.value = `\0${signed.toString('binary')}`
  const der = Buffer.from(asn1.toDer(whole).getBytes(), 'binary').toString('base64')
  return `-----BEGIN CERTIFICATE-----\n${der.replace(/(.{64})/g, '$1\n')}\n-----END CERTIFICATE-----\n${root.cert}`
}
