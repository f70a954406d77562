import type { Hex } from 'viem'
import {
  type Attestation,
  type AttestKey,
  attestSignatureBytes,
  verifyAggregate,
  verifyAttestation,
} from '../../protocol/attestation.ts'
import { type KeptAttestation, parseAttestationFile } from '../../protocol/attestation-file.ts'
import { toHex, utf8 } from '../../protocol/base/bytes.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProgramId } from '../../protocol/program.ts'
import { type AttestationCheck as Check, readSigners, type Signer, shorten } from '../attestation/signers.ts'
import { type CommandContext, defineCommand, usageError } from '../command.ts'
import { readFileBounded } from '../files.ts'
import { parseParams } from '../project/manifest.ts'
import { computeIds, openProgram, resolvePath } from '../project/packed-program.ts'
import { formatChecks } from '../verify/assert-holds.ts'

export const verifyAttestationCommand = defineCommand({
  usage: 'verify-attestation [<file|->]',
  details:
    'Checks that a program said something in an activation: that the signature is of this message, in the name of this program, by\n' +
    'the key of each provider named. The file is JSON with "programId", "message" and "signature" as 0x…, as a program may answer\n' +
    'it, or as --json and "attestation aggregate" write it; each may be given by a flag instead. Nobody is asked. With several keys,\n' +
    'all of them must have signed. One line for each check; it fails if any is wrong.',
  options: {
    message: { type: 'string', value: '<0x…>', help: 'What was attested' },
    text: { type: 'string', value: '<text>', help: 'The same as text' },
    'message-file': { type: 'string', value: '<file>', help: 'The same as the bytes of a file' },
    signature: { type: 'string', value: '<0x…>', help: 'The attestation' },
    'program-id': { type: 'string', value: '<0x…>', help: 'Of the program that should have said it' },
    program: { type: 'string', value: '<path>', help: 'The program itself: a zip or a directory' },
    params: { type: 'string', value: '<json>', help: 'Its public params in place of those in its manifest' },
    did: {
      type: 'string',
      multiple: true,
      value: '<file>',
      help: 'A DID document with the key of a provider',
    },
    provider: {
      type: 'string',
      multiple: true,
      value: '<address>',
      help: 'Who may have signed those documents',
    },
    'public-key': { type: 'string', multiple: true, value: '<0x…>', help: 'The key itself; one only' },
  },
  examples: [
    'verify-attestation answer.json --did did.json --program ./oracle',
    'verify-attestation sum.json --did alice.json --did bob.json --did carol.json',
    'verify-attestation --text hello --signature 0x… --program-id 0x… --public-key 0x…',
  ],
  async run({ positionals: [source], values }, context) {
    const kept = source === undefined ? undefined : parseAttestationFile(await readSource(source, context))
    const given = {
      message: await readMessage(values, context),
      signature: parseHex('signature', values.signature, attestSignatureBytes),
      programId: (await readProgramId(values, context)) as ProgramId | undefined,
    }
    const attestation = completed(kept, given)
    const signers = await readSigners(values, kept?.keys ?? [], context)
    if (signers.length > 1 && signers.some(({ proofOfPossession }) => !proofOfPossession))
      throw usageError(
        'A bare key stands alone: with others it could be one that takes theirs out of the sum.',
        'Name DID documents with --did; they prove that each key is its provider’s own.',
      )
    const checks: Check[] = [
      programCheck(attestation, kept, given.programId),
      messageCheck(attestation, kept, given.message),
      ...signers.map(({ check }) => check),
      signatureCheck(attestation, signers),
    ]
    const keys = signers
      .filter(hasProof)
      .map(({ publicKey, proofOfPossession }) => ({ publicKey, proofOfPossession }))
    const facts = { ...attestation, keys, checks }
    const wrong = checks.filter(({ verdict }) => verdict === 'wrong')
    if (wrong.length === 0) return context.print(formatChecks(checks), facts)
    if (!values['json']) context.note(formatChecks(checks))
    throw new ProtocolError(
      'attestation_invalid',
      `The attestation does not hold: ${wrong.map(({ name, says }) => `${name} (${says})`).join('; ')}.`,
      {
        hint: 'Compare message, signature, program and keys with what the program answered; see docs/attestations.md.',
        details: { wrong: [...new Set(wrong.map(({ name }) => name))], checks },
      },
    )
  },
})

type Flags<Name extends string> = { readonly [name in Name]?: string | undefined }

const hasProof = (signer: Signer): signer is Signer & AttestKey => signer.proofOfPossession !== undefined

/** What flags say goes before what the file says; where both speak, they are compared. */
function completed(
  kept: KeptAttestation | undefined,
  given: Partial<Record<keyof Attestation, Hex | undefined>>,
) {
  const field = <T extends Hex>(name: keyof Attestation, flag: string): T => {
    const value = given[name] ?? kept?.attestation[name]
    if (value === undefined) throw usageError(`${flag} is missing.`, 'Give it, or a file that has it.')
    return value as T
  }
  return {
    programId: field<ProgramId>('programId', '--program-id <0x…>'),
    message: field<Hex>('message', '--message <0x…>'),
    signature: field<Hex>('signature', '--signature <0x…>'),
  }
}

function programCheck(
  { programId }: Attestation,
  kept: KeptAttestation | undefined,
  given: Hex | undefined,
): Check {
  const said = kept?.attestation.programId
  if (given === undefined)
    return {
      name: 'program',
      verdict: 'open',
      says: `${programId}, at the file's own word; name it with --program`,
    }
  if (said !== undefined && said !== given)
    return { name: 'program', verdict: 'wrong', says: `it is ${shorten(said)}, and not ${shorten(given)}` }
  return { name: 'program', verdict: 'ok', says: programId }
}

function messageCheck(
  { message }: Attestation,
  kept: KeptAttestation | undefined,
  given: Hex | undefined,
): Check {
  const said = kept?.attestation.message
  if (given !== undefined && said !== undefined && said !== given)
    return { name: 'message', verdict: 'wrong', says: `it is ${describe(said)}` }
  return { name: 'message', verdict: given === undefined ? 'open' : 'ok', says: describe(message) }
}

/** As text where it is some; of what a stranger wrote only what a terminal shows as it is. */
function describe(message: Hex): string {
  const bytes = Buffer.from(message.slice(2), 'hex')
  const text = bytes.toString('utf8')
  const isText = /^[\x20-\x7e]+$/.test(text) && text.length <= 200
  return isText ? text : `${bytes.length} bytes, ${shorten(message)}`
}

function signatureCheck(attestation: Attestation, signers: readonly Signer[]): Check {
  const [first, ...others] = signers
  const holds =
    others.length === 0
      ? first !== undefined && verifyAttestation(attestation, first.publicKey)
      : verifyAggregate(attestation, signers.filter(hasProof))
  const who = others.length === 0 ? 'this key' : `all ${signers.length} keys`
  return {
    name: 'signature',
    verdict: holds ? 'ok' : 'wrong',
    says: holds
      ? `of ${who} over this message of this program`
      : `not of ${who} over this message of this program`,
  }
}

async function readMessage(
  { message, text, 'message-file': path }: Flags<'message' | 'text' | 'message-file'>,
  context: CommandContext,
): Promise<Hex | undefined> {
  if ([message, text, path].filter((one) => one !== undefined).length > 1)
    throw usageError('The message is given twice.', 'Use one of --message, --text and --message-file.')
  if (text !== undefined) return toHex(utf8.encode(text))
  if (path !== undefined) return toHex(await readKept(path, limits.attestMessageBytesMax, context))
  return parseHex('message', message)
}

async function readProgramId(
  { 'program-id': id, program, params }: Flags<'program-id' | 'program' | 'params'>,
  context: CommandContext,
): Promise<Hex | undefined> {
  if (params !== undefined && program === undefined)
    throw usageError('--params belong to a program.', 'Add --program <path>.')
  if (program === undefined) return parseHex('program-id', id, 32)
  if (id !== undefined) throw usageError('The program is given twice.', 'Use --program or --program-id.')
  const packed = await openProgram(program, context)
  const ids = await computeIds(
    packed.zip,
    params === undefined ? packed.manifest.params : parseParams(params),
  )
  return ids.programId
}

function parseHex(flag: string, text: string | undefined, bytes?: number): Hex | undefined {
  if (text === undefined) return undefined
  const isRight = /^0x(?:[0-9a-f]{2})*$/.test(text) && (bytes === undefined || text.length === 2 + 2 * bytes)
  if (isRight) return text as Hex
  throw usageError(
    `--${flag} is not right.`,
    `Write ${bytes === undefined ? 'bytes' : `${bytes} bytes`} as lower-case 0x….`,
  )
}

async function readSource(source: string, context: CommandContext): Promise<Uint8Array> {
  if (source !== '-') return readKept(source, limits.attestationFileBytesMax, context)
  return utf8.encode(await context.readStdin(limits.attestationFileBytesMax))
}

async function readKept(path: string, bytesMax: number, { cwd }: CommandContext): Promise<Uint8Array> {
  const bytes = await readFileBounded(resolvePath(cwd, path), bytesMax)
  if (bytes) return bytes
  throw usageError(`There is no file ${path}.`, 'Keep what a program answered with "curl -o answer.json".')
}
