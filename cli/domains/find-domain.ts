import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError, parseProblem } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { type CommandContext, usageError } from '../command.ts'
import { requestHttp } from '../http.ts'
import { gatewaySilence, type MarketPlace } from '../market/market.ts'

const foundSchema = z.object({
  domain: z.string(),
  kind: z.enum(['name', 'deployment']),
  name: z.string().optional(),
  cid: z.string().optional(),
  providers: z.array(z.string()).optional(),
})
/** What a gateway finds a domain to stand for. */
export type FoundDomain = z.output<typeof foundSchema>

/** Asks the gateway, which looks it up anew. @throws ProtocolError what it says, such as `domain_unproven` */
export async function findDomain(
  domain: string,
  { gateway }: Pick<MarketPlace, 'gateway'>,
  { signal }: CommandContext,
): Promise<FoundDomain> {
  const url = new URL(`/_/domains/${domain}`, gateway)
  const silence = gatewaySilence(gateway)
  const { status, body } = await requestHttp({ url, bytesMax: limits.problemBytesMax * 4, silence }, signal)
  const value = parseJson(body)
  const found = foundSchema.safeParse(value)
  if (status === 200 && found.success) return found.data
  const problem = parseProblem(value)
  if (!problem || problem.code === 'not_found') {
    throw new ProtocolError('config_invalid', `The gateway ${gateway.host} answers for no custom domains.`, {
      hint: 'Use another gateway, or ask its operator.',
    })
  }
  throw new ProtocolError(problem.code, problem.detail, { hint: problem.hint })
}

/** Reads a domain as people write it; an IDN becomes punycode, as browsers send it. @throws ProtocolError `usage_invalid` */
export function parseDomain(text: string): string {
  const url = `http://${text}/`
  const host = URL.canParse(url) ? new URL(url).hostname : ''
  const isPlain =
    /^[^/?#@:\s]+$/.test(text) && /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*$/.test(host)
  if (isPlain && host.length <= 240) return host
  throw usageError(`"${text.slice(0, 80)}" is no domain.`, 'Write it as in www.example.org.')
}
