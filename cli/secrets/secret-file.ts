import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Address, LocalAccount } from 'viem'
import { z } from 'zod'
import { base64url, utf8 } from '../../protocol/base/bytes.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { secondsSchema } from '../../protocol/schema.ts'
import type { CommandContext } from '../command.ts'
import { homeOf, readFileBounded, replaceFile } from '../files.ts'
import { deriveOwnKey } from '../keys/own-key.ts'
import { takeLock } from '../lock-file.ts'
import type { Env } from '../project/env-file.ts'

const secretSchema = z.strictObject({
  /** Seconds since 1970. */
  putAt: secondsSchema,
  /** AES-256-GCM: 12 bytes IV, ciphertext, 16 bytes tag; the name is authenticated with it. */
  sealed: z.base64url(),
})

/** Secrets by account and name. */
const fileSchema = z.record(z.string(), z.record(z.string(), secretSchema))
type SecretFile = z.output<typeof fileSchema>

/** A secret that was put, without its value. */
export interface PutSecret {
  readonly name: string
  readonly putAt: number
}

type Place = Pick<CommandContext, 'env' | 'clock' | 'signal'>

/** Encrypts a secret for the next deploys of a project by this account. @returns whether it replaced one */
export async function putSecret(
  project: string,
  { name, value, account }: { readonly name: string; readonly value: string; readonly account: LocalAccount },
  context: Place,
): Promise<boolean> {
  const sealed = seal(value, { name, key: await keyOf(project, account) })
  const putAt = Math.floor(context.clock.nowMs() / 1000)
  let isReplaced = false
  await change(project, context, (all) => {
    const own = all[account.address] ?? {}
    isReplaced = Object.hasOwn(own, name)
    if (!isReplaced && Object.keys(own).length >= limits.envEntriesMax) {
      throw new ProtocolError('usage_invalid', `There are ${limits.envEntriesMax} secrets already.`, {
        hint: 'Remove one with "khachapuri secret rm <name>".',
      })
    }
    return { ...all, [account.address]: { ...own, [name]: { putAt, sealed } } }
  })
  return isReplaced
}

/** The names of an account's secrets, sorted; no key is needed for that. */
export async function listSecrets(
  project: string,
  owner: Address,
  { env }: Pick<Place, 'env'>,
): Promise<readonly PutSecret[]> {
  const own = (await readAll(pathOf(env, project)))[owner] ?? {}
  return Object.entries(own)
    .map(([name, { putAt }]) => ({ name, putAt }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** @returns whether there was one */
export async function removeSecret(
  project: string,
  { name, owner }: { readonly name: string; readonly owner: Address },
  context: Place,
): Promise<boolean> {
  let isFound = false
  await change(project, context, (all) => {
    const { [name]: found, ...rest } = all[owner] ?? {}
    isFound = found !== undefined
    return { ...all, [owner]: rest }
  })
  return isFound
}

/** Decrypts an account's secrets. @throws ProtocolError `keystore_locked` for what was changed */
export async function openSecrets(
  project: string,
  account: LocalAccount,
  { env }: Pick<Place, 'env'>,
): Promise<Env> {
  const path = pathOf(env, project)
  const own = Object.entries((await readAll(path))[account.address] ?? {})
  if (own.length === 0) return {}
  const key = await keyOf(project, account)
  return Object.fromEntries(own.map(([name, { sealed }]) => [name, open(sealed, { name, key, path })]))
}

const keyOf = (project: string, account: LocalAccount) => deriveOwnKey(account, `secrets ${project}`)

const algorithm = 'aes-256-gcm'

function seal(value: string, { name, key }: { name: string; key: Uint8Array }): string {
  const iv = randomBytes(12)
  const cipher = createCipheriv(algorithm, key, iv).setAAD(utf8.encode(name))
  return base64url.encode(
    Buffer.concat([iv, cipher.update(value, 'utf8'), cipher.final(), cipher.getAuthTag()]),
  )
}

function open(text: string, { name, key, path }: { name: string; key: Uint8Array; path: string }): string {
  try {
    const bytes = Buffer.from(text, 'base64url')
    const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, 12))
    decipher.setAAD(utf8.encode(name)).setAuthTag(bytes.subarray(-16))
    return utf8.decode(Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]))
  } catch (cause) {
    throw new ProtocolError('keystore_locked', `The secret ${name} in ${path} does not open.`, {
      hint: `The file was changed: put it again with "khachapuri secret put ${name}".`,
      cause,
    })
  }
}

async function change(project: string, context: Place, next: (all: SecretFile) => SecretFile): Promise<void> {
  const path = pathOf(context.env, project)
  await mkdir(join(path, '..'), { recursive: true, mode: 0o700 })
  await using _lock = await takeLock(`${path}.lock`, context)
  const text = JSON.stringify(next(await readAll(path)), undefined, 2)
  if (Buffer.byteLength(text) >= limits.secretsFileBytesMax) {
    throw new ProtocolError(
      'usage_invalid',
      `${path} would have more than ${limits.secretsFileBytesMax} bytes.`,
      {
        hint: 'Remove a secret with "khachapuri secret rm <name>".',
      },
    )
  }
  await replaceFile(path, `${text}\n`)
}

async function readAll(path: string): Promise<SecretFile> {
  const bytes = await readFileBounded(path, limits.secretsFileBytesMax)
  if (!bytes) return {}
  const parsed = fileSchema.safeParse(parseJson(bytes))
  if (parsed.success) return parsed.data
  throw new ProtocolError('config_invalid', `${path} does not hold secrets.`, {
    hint: 'Mend it or move it away, and put the secrets again.',
  })
}

/** A manifest's name is safe as that of a file. */
const pathOf = (env: Place['env'], project: string) => join(homeOf(env), 'secrets', `${project}.json`)
