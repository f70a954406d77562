import { type Address, getAddress, type Hex, isAddress } from 'viem'
import { type AttestKey, attestPublicKeyBytes, verifyPossession } from '../../protocol/attestation.ts'
import { attestKeyOfDocument, readSignedDidDocument } from '../../protocol/did-document.ts'
import { limits } from '../../protocol/limits.ts'
import type { Check } from '../../protocol/verify-receipt.ts'
import { type CommandContext, usageError } from '../command.ts'
import { readFileBounded } from '../files.ts'
import { resolvePath } from '../project/packed-program.ts'

/** One line of what was compared, as for a receipt. */
export interface AttestationCheck extends Pick<Check, 'verdict' | 'says'> {
  readonly name: 'program' | 'message' | 'key' | 'signature'
}

/** Who should have signed an attestation. */
export interface Signer {
  readonly publicKey: Hex
  /** Without it the key counts alone only: nobody knows that who named it has its secret half. */
  readonly proofOfPossession?: Hex | undefined
  readonly check: AttestationCheck
}

export interface SignerFlags {
  readonly did?: readonly string[] | undefined
  readonly 'public-key'?: readonly string[] | undefined
  readonly provider?: readonly string[] | undefined
}

/** The keys that the flags name; else those of the file, at its word. @throws ProtocolError `usage_invalid`, `did_invalid` */
export async function readSigners(
  flags: SignerFlags,
  kept: readonly AttestKey[],
  context: CommandContext,
): Promise<readonly Signer[]> {
  const providers = flags.provider?.map(parseProvider)
  const documents = await Promise.all((flags.did ?? []).map((path) => readDocument(path, context)))
  const named = [
    ...documents.map((document) => fromDocument(document, providers)),
    ...(flags['public-key'] ?? []).map(fromFlag),
  ]
  if (named.length > 0) return named
  if (kept.length > 0) return kept.map(fromFile)
  throw usageError(
    'Whose attestation it should be is not said.',
    'Name the provider’s DID document (curl <provider>/.well-known/did.json > did.json) with --did did.json, or its key with --public-key.',
  )
}

async function readDocument(path: string, { cwd }: CommandContext) {
  const bytes = await readFileBounded(resolvePath(cwd, path), limits.didBytesMax)
  if (!bytes)
    throw usageError(
      `There is no file ${path}.`,
      'Fetch one with "curl <provider>/.well-known/did.json > did.json".',
    )
  return readSignedDidDocument(bytes)
}

function fromDocument(
  document: Awaited<ReturnType<typeof readSignedDidDocument>>,
  providers: readonly Address[] | undefined,
): Signer {
  const { name, provider } = document.proof
  const key = attestKeyOfDocument(document)
  if (!key)
    throw usageError(`The DID document of ${name} has no key to attest with.`, 'Fetch a newer one from it.')
  const wrong = !verifyPossession(key)
    ? 'which it has not proved to be its own'
    : providers && !providers.includes(provider)
      ? 'which is none of those that should have signed'
      : undefined
  const who = `${shorten(key.publicKey)} of ${name}, ${provider}`
  return {
    ...key,
    check: {
      name: 'key',
      verdict: wrong ? 'wrong' : 'ok',
      says: wrong ? `${who}, ${wrong}` : `${who}, signed by that account`,
    },
  }
}

function fromFlag(text: string): Signer {
  if (!new RegExp(`^0x[0-9a-f]{${2 * attestPublicKeyBytes}}$`).test(text))
    throw usageError(
      `"${text.slice(0, 20)}…" is no public key.`,
      `Write its ${attestPublicKeyBytes} bytes as lower-case 0x….`,
    )
  return {
    publicKey: text as Hex,
    check: { name: 'key', verdict: 'ok', says: `${shorten(text)}, as --public-key says` },
  }
}

const fromFile = (key: AttestKey): Signer => ({
  ...key,
  check: { name: 'key', verdict: 'open', says: `${shorten(key.publicKey)}, at the file's own word` },
})

function parseProvider(text: string): Address {
  if (isAddress(text, { strict: false })) return getAddress(text)
  throw usageError(`"${text.slice(0, 60)}" is no address.`, 'Write it as 0x and 40 digits.')
}

export const shorten = (hex: string): string => `${hex.slice(0, 12)}…${hex.slice(-6)}`
