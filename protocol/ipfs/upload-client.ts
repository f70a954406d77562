import type { LocalAccount } from 'viem'
import { z } from 'zod'
import { readBounded, sha256, toHex } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { parseJson } from '../canonical-json.ts'
import { isProtocolError, ProtocolError, parseProblem } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Market } from '../typed-data.ts'
import { type Block, blockMismatch } from './block.ts'
import { readBody } from './body-stream.ts'
import type { CID } from './cid.ts'
import { fetchKept } from './fetch-kept.ts'
import { carMediaType } from './media-types.ts'
import { signUpload, type Upload } from './upload.ts'
import { encodeCar } from './write-car.ts'

export interface UploadDeps {
  readonly clock: Clock
  /** 32 random bytes. */
  readonly createNonce: () => Uint8Array
}

export interface UploadOptions {
  /** The keeper's public origin, as the keeper itself knows it: the signature names it. */
  readonly keeperUrl: URL
  readonly root: CID
  readonly blocks: readonly Block[]
  readonly owner: LocalAccount
  readonly market: Market
}

export interface KeptContent {
  readonly root: string
  readonly bytes: number
  readonly expiresAtMs: number
}

/**
 * Puts content into a keeper, signed by its owner.
 *
 * @throws ProtocolError `keeper_unreachable`; `cid_mismatch` where the keeper answers for another CID; what the keeper
 *   refused with
 */
export async function uploadCar(
  { clock, createNonce }: UploadDeps,
  { keeperUrl, root, blocks, owner, market }: UploadOptions,
  signal: AbortSignal,
): Promise<KeptContent> {
  const car = encodeCar(root, blocks)
  if (car.byteLength > limits.carBytesMax) throw tooLarge(car.byteLength)
  const upload: Upload = {
    owner: owner.address,
    root: root.toString(),
    carBytes: car.byteLength,
    carDigest: toHex(sha256(car)),
    keeper: keeperUrl.origin,
    validBefore:
      Math.floor(clock.nowMs() / 1000) + limits.uploadAuthorizationAgeSecondsMax - clockSkewSeconds,
    nonce: toHex(createNonce()),
  }
  const authorization = await signUpload(upload, owner, market)
  const kept = await post({ keeperUrl, root, car, authorization }, signal)
  if (kept.root !== root.toString()) throw keptAnother(keeperUrl, { root, kept: kept.root })
  return kept
}

/** The keeper's clock may be behind ours, and it refuses what is valid for too long. */
const clockSkewSeconds = 60

/**
 * Fetches content back from a keeper and compares it: a deployment whose bytes nobody gives out is worth nothing.
 *
 * @throws ProtocolError `cid_not_found`, `cid_mismatch`, `content_unreachable`
 */
export async function proveKept(
  { keeperUrl, root, bytes }: { keeperUrl: URL; root: CID; bytes: Uint8Array },
  signal: AbortSignal,
): Promise<void> {
  const fetched = await fetchKept({ keeperUrl, root, bytesMax: bytes.byteLength }, signal)
  if (Buffer.compare(fetched, bytes) !== 0) throw blockMismatch(root, `The keeper ${keeperUrl.host}`)
}

const keptSchema = z.object({
  root: z.string().max(limits.cidBytesMax),
  bytes: z.number().int().min(0),
  expiresAtMs: z.number().min(0),
})

async function post(
  request: { keeperUrl: URL; root: CID; car: Uint8Array; authorization: string },
  signal: AbortSignal,
): Promise<KeptContent> {
  const { keeperUrl, root, car, authorization } = request
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.uploadTimeoutMs)])
  try {
    const response = await fetch(new URL(`/ipfs?root=${root}`, keeperUrl), {
      method: 'POST',
      headers: { authorization, 'content-type': carMediaType },
      body: Buffer.from(car.buffer, car.byteOffset, car.byteLength),
      redirect: 'manual',
      signal: deadline,
    })
    const body = readBody(response.body, { stallTimeoutMs: limits.contentStallTimeoutMs }, deadline)
    const answer = parseJson((await readBounded(body, limits.keeperAnswerBytesMax)) ?? new Uint8Array())
    return parseAnswer(answer, { keeperUrl, status: response.status })
  } catch (cause) {
    signal.throwIfAborted()
    throw isProtocolError(cause) ? cause : unreachable(keeperUrl, 'does not answer', cause)
  }
}

function parseAnswer(
  answer: unknown,
  { keeperUrl, status }: { keeperUrl: URL; status: number },
): KeptContent {
  const kept = keptSchema.safeParse(answer)
  if (status === 201 && kept.success) return kept.data
  const problem = parseProblem(answer)
  if (!problem) throw unreachable(keeperUrl, `answers ${status}, which no keeper does`)
  throw new ProtocolError(problem.code, problem.detail.slice(0, 500), { hint: problem.hint.slice(0, 500) })
}

function unreachable(keeperUrl: URL, what: string, cause?: unknown): ProtocolError {
  return new ProtocolError('keeper_unreachable', `The keeper ${keeperUrl.host} ${what}.`, {
    hint: 'Check its address, or deploy to another keeper with --keeper.',
    cause,
  })
}

function keptAnother(keeperUrl: URL, { root, kept }: { root: CID; kept: string }): ProtocolError {
  return new ProtocolError('cid_mismatch', `The keeper ${keeperUrl.host} kept another CID than ${root}.`, {
    hint: 'Do not use this keeper.',
    details: { cid: root.toString(), kept: kept.replace(/[^0-9A-Za-z]/g, '?') },
  })
}

function tooLarge(bytes: number): ProtocolError {
  return new ProtocolError(
    'content_too_large',
    `The upload has ${bytes} bytes; ${limits.carBytesMax} are allowed.`,
    {
      hint: 'Leave out what the program does not need to run.',
    },
  )
}
