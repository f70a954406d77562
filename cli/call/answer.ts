import { open } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { resolve } from 'node:path'
import { readBounded } from '../../protocol/base/bytes.ts'
import { callHeaders } from '../../protocol/call.ts'
import { type CallAttempt, formatAttempt, parseAttempt } from '../../protocol/call-attempt.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { type Problem, ProtocolError, parseProblem, problemType } from '../../protocol/errors.ts'
import { gatewayHeaders } from '../../protocol/http/headers.ts'
import { limits } from '../../protocol/limits.ts'
import type { AnswerFacts } from '../../protocol/voucher-session.ts'
import type { CommandContext } from '../command.ts'
import { cannotWrite } from '../files.ts'

/** The head of an answer; a refusal of this network with its document. */
export interface Answer extends AnswerFacts {
  readonly response: IncomingMessage
  /** To be read once, unless it is a refusal. */
  readonly body: AsyncIterable<Uint8Array>
}

/** A refusal is read whole, anything else stays to be streamed. */
export async function readHead(response: IncomingMessage, body: AsyncIterable<Uint8Array>): Promise<Answer> {
  const status = response.statusCode ?? 0
  const header = (name: string) => {
    const value = response.headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  }
  const isProblem = status >= 400 && header('content-type') === problemType
  return { response, body, status, header, problem: isProblem ? await readProblem(body) : undefined }
}

async function readProblem(body: AsyncIterable<Uint8Array>): Promise<Problem | undefined> {
  const bytes = await readBounded(body, limits.problemBytesMax * 4)
  return bytes && parseProblem(parseJson(bytes))
}

/** @throws ProtocolError what the network refused with; a program's own answer of any status is an answer. */
export function assertAnswered({ problem }: Answer): void {
  if (!problem) return
  const { code, detail, hint, ...details } = problem
  throw new ProtocolError(code, detail, { hint, details })
}

export interface ShowFlags {
  readonly output?: string | undefined
  readonly include?: boolean | undefined
  readonly json?: boolean | undefined
  /** Where the command asked several providers itself; else what a gateway says of that. */
  readonly attempts?: readonly CallAttempt[] | undefined
}

/** Streams the body to where it is wanted; with `--json` it is told what came instead. */
export async function showAnswer(
  answer: Answer,
  { output, include = false, json = false, attempts: own }: ShowFlags,
  context: CommandContext,
): Promise<void> {
  const { response, body, status, header } = answer
  const attempts = own ?? readAttempts(response)
  const facts = {
    status,
    call: header(callHeaders.call) ?? null,
    price: header(callHeaders.price) ?? null,
    spent: header(callHeaders.spent) ?? null,
    calls: header(callHeaders.calls) ?? null,
    ...(attempts.length > 0 && { attempts }),
    headers: response.headers,
  }
  if (output !== undefined) {
    await writeBody(body, resolve(context.cwd, output))
    if (json) context.print('', { ...facts, output })
    return
  }
  if (json) {
    const bytes = await readBounded(body, limits.stateFileBytesMax)
    if (!bytes) throw tooLarge()
    context.print('', { ...facts, body: Buffer.from(bytes).toString('utf8') })
    return
  }
  if (include) await context.writeBytes(Buffer.from(formatHead(response, own)))
  for await (const chunk of body) await context.writeBytes(chunk)
}

/** What a gateway that chose among several says. */
function readAttempts({ headersDistinct }: IncomingMessage): CallAttempt[] {
  const lines = headersDistinct[gatewayHeaders.attempt] ?? []
  return lines.map(parseAttempt).filter((attempt) => attempt !== undefined)
}

async function writeBody(body: AsyncIterable<Uint8Array>, path: string): Promise<void> {
  const refuse = (cause: unknown): never => {
    throw cannotWrite(path, cause)
  }
  await using file = await open(path, 'w').catch(refuse)
  for await (const chunk of body) await file.appendFile(chunk).catch(refuse)
}

function formatHead(
  { httpVersion, statusCode, statusMessage, rawHeaders }: IncomingMessage,
  own: readonly CallAttempt[] = [],
): string {
  const lines = [`HTTP/${httpVersion} ${statusCode} ${statusMessage}`]
  for (let i = 0; i < rawHeaders.length; i += 2) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`)
  for (const attempt of own) lines.push(`${gatewayHeaders.attempt}: ${formatAttempt(attempt)}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}

const tooLarge = () =>
  new ProtocolError('content_too_large', 'The answer is too large for one JSON object.', {
    hint: 'Add -o <file>. The call was made and paid.',
  })
