import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { ProtocolError } from '../../protocol/errors.ts'

/** A certificate with its key, both checked. */
export interface Certificate {
  /** PEM: the server's own certificate, then the chain above it. */
  readonly cert: string
  /** PEM. */
  readonly key: string
  /** Hosts that it is for, wildcards included. */
  readonly names: readonly string[]
  /** Wall time. */
  readonly validFromMs: number
  readonly validToMs: number
}

/**
 * Reads a certificate and its key, and holds them against each other and the time.
 *
 * @throws ProtocolError `config_invalid`; it repeats nothing of the key.
 */
export function parseCertificate(
  pair: { readonly cert: string; readonly key: string },
  nowMs: number,
): Certificate {
  const certificate = readCertificate(pair.cert)
  const key = readKey(pair.key)
  if (!certificate.checkPrivateKey(key)) {
    refuse('The key is not the key of the certificate.', 'Give the two files that were made together.')
  }
  const validToMs = Date.parse(certificate.validTo)
  if (validToMs <= nowMs) {
    refuse(`The certificate ended on ${new Date(validToMs).toISOString()}.`, 'Have it renewed.')
  }
  return { ...pair, names: readNames(certificate), validFromMs: Date.parse(certificate.validFrom), validToMs }
}

/** Whether a certificate is for this host, by a name of its own or a wildcard for one label. */
export function coversHost({ names }: Pick<Certificate, 'names'>, host: string): boolean {
  const wildcard = `*${host.slice(host.indexOf('.'))}`
  return names.includes(host) || (host.includes('.') && names.includes(wildcard))
}

function readCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw unreadable('certificate', cause)
  }
}

function readKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch {
    // What OpenSSL says may have a part of the file in it.
    throw unreadable('key', undefined)
  }
}

function readNames({ subjectAltName }: X509Certificate): string[] {
  return (subjectAltName ?? '')
    .split(', ')
    .filter((name) => name.startsWith('DNS:'))
    .map((name) => name.slice('DNS:'.length).toLowerCase())
}

function unreadable(what: string, cause: unknown): ProtocolError {
  return new ProtocolError('config_invalid', `The file of the ${what} holds no ${what} in PEM form.`, {
    hint: 'It begins with "-----BEGIN"; a key must not be encrypted.',
    cause,
  })
}

function refuse(message: string, hint: string): never {
  throw new ProtocolError('config_invalid', message, { hint })
}
