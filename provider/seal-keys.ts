import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import forge from 'node-forge'
import { parseSealKey } from '../protocol/seal.ts'

/** A provider's RSA keys: deployments are sealed for the public half of the current one. */
export interface SealKeys {
  /** Thumbprint (RFC 7638) of the current key. */
  readonly kid: string
  /** What the Resolver's `pubkey()` publishes: DER SubjectPublicKeyInfo. */
  readonly publicKeyDer: Uint8Array
  /** Private keys by thumbprint. */
  readonly byKid: ReadonlyMap<string, KeyObject>
}

const keyBits = 3072
const fileName = 'seal-key.pem'

/**
 * Opens the key in `dir`, or makes one there (PKCS #8 PEM, readable by this user only).
 *
 * Whoever has this file can read the secrets of every deployment that was sealed for it, old ones included.
 */
export async function openSealKeys(dir: string): Promise<SealKeys> {
  const pem = await readFile(join(dir, fileName), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return createKey(dir)
  })
  const privateKey = createPrivateKey(pem)
  const publicKeyDer = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  const { kid } = await parseSealKey(publicKeyDer)
  return { kid, publicKeyDer, byKid: new Map([[kid, privateKey]]) }
}

async function createKey(dir: string): Promise<string> {
  // node-forge hands the work to the platform's own generator, off the main thread.
  const generate = promisify(forge.pki.rsa.generateKeyPair) as (options: {
    bits: number
    workers: number
  }) => Promise<forge.pki.rsa.KeyPair>
  const { privateKey } = await generate({ bits: keyBits, workers: -1 })
  const pem = forge.pki.privateKeyInfoToPem(
    forge.pki.wrapRsaPrivateKey(forge.pki.privateKeyToAsn1(privateKey)),
  )
  await mkdir(dir, { recursive: true, mode: 0o700 })
  // `wx`: another process that made a key in the meantime wins, and this one fails rather than replace it.
  await writeFile(join(dir, fileName), pem, { mode: 0o600, flag: 'wx' })
  return pem
}
