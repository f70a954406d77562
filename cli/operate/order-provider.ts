import http from 'node:http'
import { z } from 'zod'
import { readBounded, utf8 } from '../../protocol/base/bytes.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { type ErrorCode, errorTable, ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { controlSocket } from '../../provider/control/serve-control.ts'

const problemSchema = z.object({
  code: z.string().refine((code) => Object.hasOwn(errorTable, code)),
  detail: z.string(),
  hint: z.string(),
})

/**
 * Gives an order to the provider that runs in `dir`, over its socket there.
 *
 * @returns its answer, or undefined where none runs.
 * @throws ProtocolError what the provider says to it
 */
export async function orderProvider(
  dir: string,
  {
    order,
    body = {},
    bytesMax = limits.problemBytesMax,
  }: {
    order:
      | 'price'
      | 'rotate-key'
      | 'endpoint'
      | 'identity'
      | 'history'
      | 'status'
      | 'disputes'
      | 'dispute-accept'
      | 'policy'
      | 'policy-change'
      | 'policy-reload'
    body?: object
    bytesMax?: number
  },
  signal: AbortSignal,
): Promise<unknown> {
  const socketPath = controlSocket(dir)
  if (socketPath === undefined) return undefined
  const response = await send(socketPath, order, utf8.encode(JSON.stringify(body)), signal).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') return undefined
      throw error
    },
  )
  if (!response) return undefined
  const answer = parseJson((await readBounded(response, bytesMax)) ?? new Uint8Array())
  if (response.statusCode === 200) return answer
  const problem = problemSchema.safeParse(answer)
  if (problem.success)
    throw new ProtocolError(problem.data.code as ErrorCode, problem.data.detail, { hint: problem.data.hint })
  throw new ProtocolError('provider_answer_invalid', 'The provider does not understand this order.', {
    hint: 'Use a command line of the same version as the provider.',
  })
}

function send(
  socketPath: string,
  order: string,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.byteLength, host: 'control' }
    const request = {
      socketPath,
      path: `/${order}`,
      method: 'POST',
      headers,
      agent: false,
      signal,
    }
    http.request(request, resolve).on('error', reject).end(body)
  })
}
