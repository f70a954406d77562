import { parseJson } from '../../protocol/canonical-json.ts'
import { isProtocolError, ProtocolError, parseProblem } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { CommandContext } from '../command.ts'
import { requestHttp } from '../http.ts'
import { type MarketPlace, providerUrl, readGatewayInfo } from './market.ts'

export interface PageQuestion {
  readonly market: MarketPlace
  /** Of the provider. */
  readonly name: string
  /** With its query. */
  readonly path: string
  readonly bytesMax: number
}

/**
 * Reads a page that a provider shows to everybody, through the gateway.
 *
 * @throws ProtocolError what gateway or provider say; `provider_unreachable`, `provider_answer_invalid`
 */
export async function askPage(
  { market, name, path, bytesMax }: PageQuestion,
  { signal }: Pick<CommandContext, 'signal'>,
): Promise<Uint8Array> {
  const { domain } = await readGatewayInfo(market.gateway, signal)
  const url = new URL(path, providerUrl(market.gateway, domain, name))
  const answer = await requestHttp(
    { url, bytesMax: Math.max(bytesMax, limits.problemBytesMax) },
    signal,
  ).catch((cause: unknown) => {
    signal.throwIfAborted()
    if (isProtocolError(cause)) throw cause
    throw new ProtocolError('provider_unreachable', `${url.host} does not answer.`, {
      hint: 'Check that the gateway runs: --gateway.',
      cause,
    })
  })
  if (answer.status === 200) return answer.body
  const problem = parseProblem(parseJson(answer.body))
  if (problem) throw new ProtocolError(problem.code, problem.detail, { hint: problem.hint })
  throw new ProtocolError('provider_answer_invalid', `${url.href} answers ${answer.status}.`, {
    hint: 'Its provider may be of an older version, which has no such page.',
  })
}
