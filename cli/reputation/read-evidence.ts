import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseJson } from '../../protocol/canonical-json.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { type FraudReport, parseFraudReport } from '../../protocol/fraud-report.ts'
import { parseKeptReceipt } from '../../protocol/kept-receipt.ts'
import { limits } from '../../protocol/limits.ts'
import type { KeptReceipt } from '../../protocol/receipt-evidence.ts'
import { type CommandContext, usageError } from '../command.ts'
import { readFileBounded } from '../files.ts'
import { resolvePath } from '../project/packed-program.ts'
import { readKeptReceipt } from '../verify/read-answer.ts'

/** What somebody has gathered of providers. None of it is checked. */
export interface Evidence {
  readonly receipts: readonly KeptReceipt[]
  readonly reports: readonly FraudReport[]
  /** Files, or lines of them, that are neither. */
  readonly unreadable: number
}

export const noEvidence: Evidence = { receipts: [], reports: [], unreadable: 0 }

/**
 * Reads a directory of receipts and fraud reports: what "receipts" wrote, a receipt to the line, and whatever "verify" and
 * "replay" read, one to the file. Folders in it are left out.
 *
 * @throws ProtocolError `usage_invalid` where there is no such directory, `config_invalid` where there is more in it than is read
 */
export async function readEvidence(dir: string, { cwd, signal }: CommandContext): Promise<Evidence> {
  const path = resolvePath(cwd, dir)
  const receipts: KeptReceipt[] = []
  const reports: FraudReport[] = []
  let unreadable = 0
  let bytesLeft = limits.evidenceBytesMax
  for (const name of await listFiles(path)) {
    signal.throwIfAborted()
    const bytes = await readFileBounded(join(path, name), bytesLeft)
    if (!bytes) continue
    bytesLeft -= bytes.byteLength
    for (const part of parseFile(bytes)) {
      if (part === undefined) unreadable += 1
      else if ('receipt' in part) receipts.push(part)
      else reports.push(part)
      if (receipts.length + reports.length > limits.evidenceReceiptsMax)
        throw tooMuch(`${path} holds more than ${limits.evidenceReceiptsMax} receipts.`)
    }
  }
  return { receipts, reports, unreadable }
}

async function listFiles(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((cause) => {
    throw usageError(
      `${path} is no directory that can be read: ${cause.code}.`,
      'Write receipts into one with "khachapuri receipts <name> --output <dir>/<file>".',
    )
  })
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name)
  if (names.length > limits.evidenceFilesMax)
    throw tooMuch(`${path} holds more than ${limits.evidenceFilesMax} files.`)
  return names.sort()
}

type Part = KeptReceipt | FraudReport | undefined

function* parseFile(bytes: Uint8Array): Generator<Part> {
  const whole = parseJson(bytes)
  if (whole !== undefined) {
    yield parseFraudReport(whole) ?? parseKeptReceipt(whole) ?? parseAnswer(bytes)
    return
  }
  if (bytes[0] !== '{'.charCodeAt(0)) {
    yield parseAnswer(bytes)
    return
  }
  for (let at = 0; at < bytes.byteLength; ) {
    const end = bytes.indexOf(0x0a, at)
    const line = bytes.subarray(at, end < 0 ? bytes.byteLength : end)
    at += line.byteLength + 1
    if (line.byteLength > 0) yield parseKeptReceipt(parseJson(line))
  }
}

/** What curl wrote. */
function parseAnswer(bytes: Uint8Array): KeptReceipt | undefined {
  try {
    const { signed } = readKeptReceipt(bytes)
    return { receipt: signed.receipt, signed, proof: undefined }
  } catch (error) {
    if (isProtocolError(error)) return undefined
    throw error
  }
}

const tooMuch = (message: string) =>
  new ProtocolError('config_invalid', message, {
    hint: 'Judge a smaller directory: part of it would be another set of receipts for everybody.',
  })
