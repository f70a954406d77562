import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { link, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import forge from 'node-forge'
import type { Clock } from '../protocol/base/clock.ts'
import { limits } from '../protocol/limits.ts'
import { parseSealKey } from '../protocol/seal.ts'
import { syncDir, writeDurably } from './durable-file.ts'

/** A provider's RSA keys: deployments are sealed for the public half of the current one. */
export interface SealKeys {
  /** Thumbprint (RFC 7638) of the current key. */
  readonly kid: string
  /** What the Resolver's `pubkey()` publishes: DER SubjectPublicKeyInfo. */
  readonly publicKeyDer: Uint8Array
  /** Private keys by thumbprint: the current one, and retired ones in their grace. It changes with `rotate`. */
  readonly byKid: ReadonlyMap<string, KeyObject>
  /**
   * Makes another key the current one, on disk before anybody can hear of it. The one before still opens what was
   * sealed for it, for `limits.sealKeyGraceMs`; then its file is deleted at the next start.
   */
  rotate(): Promise<{ readonly kid: string; readonly retiredKid: string }>
}

const keyBits = 3072
const currentName = 'seal-key.pem'
const retiredName = /^seal-key\.(\d{1,15})\.pem$/

interface LoadedKey {
  readonly kid: string
  readonly privateKey: KeyObject
  readonly publicKeyDer: Uint8Array
}

/**
 * Opens the keys in `dir`, or makes one there (PKCS #8 PEM, readable by this user only).
 *
 * Whoever has these files can read the secrets of every deployment that was sealed for them, old ones included.
 */
export async function openSealKeys({ clock }: { clock: Clock }, dir: string): Promise<SealKeys> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const path = join(dir, currentName)
  const pem = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return makeKey(path)
  })
  let current = await loadKey(pem)
  const byKid = new Map([[current.kid, current.privateKey]])
  for (const { kid, privateKey } of await loadRetired(dir, clock.nowMs())) byKid.set(kid, privateKey)

  return {
    get kid() {
      return current.kid
    },
    get publicKeyDer() {
      return current.publicKeyDer
    },
    byKid,
    async rotate() {
      const retiredKid = current.kid
      // A second name for the same file: whatever happens next, no key is lost.
      await link(path, join(dir, `seal-key.${clock.nowMs()}.pem`))
      await syncDir(dir)
      current = await loadKey(await makeKey(path))
      byKid.set(current.kid, current.privateKey)
      return { kid: current.kid, retiredKid }
    },
  }
}

async function loadKey(pem: string): Promise<LoadedKey> {
  const privateKey = createPrivateKey(pem)
  const publicKeyDer = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  const { kid } = await parseSealKey(publicKeyDer)
  return { kid, privateKey, publicKeyDer }
}

/** Retired keys in their grace; the others are deleted, so that they cannot be stolen any more. */
async function loadRetired(dir: string, nowMs: number): Promise<LoadedKey[]> {
  const keys: LoadedKey[] = []
  for (const name of await readdir(dir)) {
    const [, retiredAtMs] = retiredName.exec(name) ?? []
    if (retiredAtMs === undefined) continue
    const path = join(dir, name)
    if (nowMs - Number(retiredAtMs) > limits.sealKeyGraceMs) await rm(path)
    else keys.push(await loadKey(await readFile(path, 'utf8')))
  }
  return keys
}

async function makeKey(path: string): Promise<string> {
  // node-forge hands the work to the platform's own generator, off the main thread.
  const generate = promisify(forge.pki.rsa.generateKeyPair) as (options: {
    bits: number
    workers: number
  }) => Promise<forge.pki.rsa.KeyPair>
  const { privateKey } = await generate({ bits: keyBits, workers: -1 })
  const pem = forge.pki.privateKeyInfoToPem(
    forge.pki.wrapRsaPrivateKey(forge.pki.privateKeyToAsn1(privateKey)),
  )
  await writeDurably(path, pem)
  return pem
}
