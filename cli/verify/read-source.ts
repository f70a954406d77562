import { limits } from '../../protocol/limits.ts'
import { type CommandContext, usageError } from '../command.ts'
import { readFileBounded } from '../files.ts'
import { resolvePath } from '../project/packed-program.ts'
import { fetchReceipt } from './fetch-receipt.ts'
import { type ReceivedReceipt, readKeptReceipt } from './read-answer.ts'

/** Of a body, with the head before it. */
const keptBytesMax = limits.responseBodyBytesMax + limits.headerBytesMax

export const isUrl = (source: string): boolean => /^https?:\/\//.test(source)

/** A receipt from a file, from standard input, or from a URL, which is called once. @throws ProtocolError `receipt_invalid`, `usage_invalid` */
export async function readSource(source: string, context: CommandContext): Promise<ReceivedReceipt> {
  if (isUrl(source)) return fetchReceipt(source, context)
  if (source === '-') return readKeptReceipt(Buffer.from(await context.readStdin(keptBytesMax)))
  return readKeptReceipt(await readKeptFile(source, context))
}

export async function readKeptFile(path: string, { cwd }: CommandContext): Promise<Uint8Array> {
  const bytes = await readFileBounded(resolvePath(cwd, path), keptBytesMax)
  if (bytes) return bytes
  throw usageError(`There is no file ${path}.`, 'Keep the head of an answer with "curl -D head.txt".')
}
