import { generateKeyPair, randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import { promisify } from 'node:util'
import forge from 'node-forge'

const { asn1, pki } = forge
const generate = promisify(generateKeyPair)

/** A certificate and its private key, both PEM. */
export interface PemPair {
  readonly cert: string
  readonly key: string
}

const dayMs = 24 * 60 * 60 * 1000
const authorityDays = 5 * 365
/** Systems refuse longer ones. */
const serverDays = 397

/**
 * Makes a certificate authority for development. It says of itself that it may sign for these domains and for loopback
 * addresses only (RFC 5280 section 4.2.1.10): whoever trusts it does not trust whoever steals it with everything else.
 */
export async function createDevAuthority(domains: readonly string[], nowMs: number): Promise<PemPair> {
  const { certificate, key, privateKey } = await draft(
    `Khachapuri development ${authorityYear(nowMs)}`,
    nowMs,
    authorityDays,
  )
  certificate.setIssuer(certificate.subject.attributes)
  certificate.setExtensions([
    { name: 'basicConstraints', cA: true, pathLenConstraint: 0, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    { name: 'subjectKeyIdentifier' },
    { id: '2.5.29.30', critical: true, value: formatNameConstraints(domains) },
  ])
  certificate.sign(privateKey, forge.md.sha256.create())
  return { cert: pki.certificateToPem(certificate), key }
}

/** Makes a server's certificate for these hosts, signed by a development authority, which stands below it in the file. */
export async function signDevCertificate(
  authority: PemPair,
  hosts: readonly string[],
  nowMs: number,
): Promise<PemPair> {
  const issuer = pki.certificateFromPem(authority.cert)
  const { certificate, key } = await draft(hosts[0] ?? 'localhost', nowMs, serverDays)
  certificate.setIssuer(issuer.subject.attributes)
  certificate.setExtensions([
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true },
    { name: 'extKeyUsage', serverAuth: true },
    {
      name: 'subjectAltName',
      altNames: hosts.map((host) => (isIP(host) === 0 ? { type: 2, value: host } : { type: 7, ip: host })),
    },
  ])
  certificate.sign(pki.privateKeyFromPem(authority.key), forge.md.sha256.create())
  return { cert: pki.certificateToPem(certificate) + authority.cert, key }
}

async function draft(commonName: string, nowMs: number, days: number) {
  const { publicKey, privateKey } = await generate('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const certificate = pki.createCertificate()
  certificate.publicKey = pki.publicKeyFromPem(publicKey)
  // Positive, whatever its first bit.
  // Positive, and never with a zero in front that DER does not want.
  certificate.serialNumber = `01${randomBytes(16).toString('hex')}`
  // Clocks differ.
  certificate.validity.notBefore = new Date(nowMs - dayMs)
  certificate.validity.notAfter = new Date(nowMs + days * dayMs)
  certificate.setSubject([{ name: 'commonName', value: commonName }])
  return { certificate, key: privateKey, privateKey: pki.privateKeyFromPem(privateKey) }
}

const authorityYear = (nowMs: number) => new Date(nowMs).getUTCFullYear()

function formatNameConstraints(domains: readonly string[]) {
  const tagged = (type: number, constructed: boolean, value: string | forge.asn1.Asn1[]) =>
    asn1.create(asn1.Class.CONTEXT_SPECIFIC, type, constructed, value as never)
  const subtree = (type: number, value: string) =>
    asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, [tagged(type, false, value)])
  const loopback4 = String.fromCharCode(127, 0, 0, 0, 255, 0, 0, 0)
  const loopback6 = `${'\0'.repeat(15)}\x01${'\xff'.repeat(16)}`
  const permitted = [
    ...domains.map((domain) => subtree(2, domain)),
    subtree(7, loopback4),
    subtree(7, loopback6),
  ]
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, [tagged(0, true, permitted)])
}
