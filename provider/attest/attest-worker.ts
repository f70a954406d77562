import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { type AttestKey, attestKeyOf, signAttestation } from '../../protocol/attestation.ts'
import { assert } from '../../protocol/base/assert.ts'
import type { ProgramId } from '../../protocol/program.ts'
import { readAttestKey } from './attest-key.ts'

/**
 * The thread that signs what programs attest: a signature takes 15 ms, which would stop all calls. The key is read here and
 * stays here.
 */
export interface AttestWorkerOptions {
  readonly keyPath: string
}

export interface AttestJob {
  readonly programId: ProgramId
  readonly message: Uint8Array
}

export type AttestWord =
  | { readonly kind: 'opened'; readonly key: AttestKey }
  | { readonly kind: 'signed'; readonly signature: Uint8Array }

assert(!isMainThread && parentPort, 'this file is a thread of its own')
const port = parentPort
const { keyPath } = workerData as AttestWorkerOptions
const secretKey = await readAttestKey(keyPath)
const say = (word: AttestWord) => port.postMessage(word)
port.on('message', ({ programId, message }: AttestJob) => {
  say({ kind: 'signed', signature: signAttestation(message, { programId, secretKey }) })
})
say({ kind: 'opened', key: attestKeyOf(secretKey) })
