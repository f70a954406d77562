import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError, parseProblem } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { type ProviderInfo, providerInfoSchema } from '../../protocol/provider.ts'
import { requestHttp } from '../http.ts'

/** A provider as a gateway reaches it. */
export interface ReachableProvider {
  readonly name: string
  /** Its own subdomain. */
  readonly url: URL
}

const describedSchema = z.object({
  deployment: z.string().max(limits.cidBytesMax),
  programId: z.string().max(80),
  program: z.string().max(limits.cidBytesMax),
})

/**
 * What a provider says of itself.
 *
 * @throws ProtocolError `provider_unreachable`, `provider_answer_invalid`
 */
export async function askProviderInfo(
  provider: ReachableProvider,
  signal: AbortSignal,
): Promise<ProviderInfo> {
  const parsed = providerInfoSchema.safeParse(await ask(provider, '/_/info', signal))
  if (parsed.success) return parsed.data
  throw invalidAnswer(provider, 'does not describe itself as a provider does')
}

/**
 * Asks a provider what it would run for a deployment, and compares: an id that anybody can compute is worth something
 * only if somebody does.
 *
 * @throws ProtocolError `provider_answer_invalid` with both ids where it says something else; `provider_unreachable`
 */
export async function checkProvider(
  provider: ReachableProvider,
  expected: { readonly deployment: string; readonly programId: string; readonly program: string },
  signal: AbortSignal,
): Promise<void> {
  const answer = describedSchema.safeParse(await ask(provider, `/_/d/${expected.deployment}`, signal))
  if (!answer.success) throw invalidAnswer(provider, 'does not describe the deployment')
  for (const field of ['programId', 'program', 'deployment'] as const) {
    const said = answer.data[field].replace(/[^0-9A-Za-z]/g, '?')
    if (said === expected[field]) continue
    throw new ProtocolError(
      'provider_answer_invalid',
      `${provider.name} is not telling the truth: it says that the ${field} is ${said}, and it is ${expected[field]}.`,
      {
        hint: `Do not use ${provider.name}: deploy again without it.`,
        details: { provider: provider.name, field, said, expected: expected[field] },
      },
    )
  }
}

async function ask(provider: ReachableProvider, path: string, signal: AbortSignal): Promise<unknown> {
  const url = new URL(path, provider.url)
  const headers = { accept: 'application/json' }
  const silence = {
    code: 'provider_unreachable',
    message: `${provider.name} does not answer at ${url.origin}.`,
    hint: 'Try again when it is back; what was published stays published.',
  } as const
  const { status, body } = await requestHttp({ url, headers, bytesMax: limits.specBytesMax, silence }, signal)
  const answer = parseJson(body)
  if (status === 200) return answer
  const problem = parseProblem(answer)
  if (!problem) throw invalidAnswer(provider, `answers ${status} to ${path}`)
  throw new ProtocolError(problem.code, `${provider.name}: ${problem.detail.slice(0, 500)}`, {
    hint: problem.hint.slice(0, 500),
  })
}

function invalidAnswer({ name }: ReachableProvider, what: string): ProtocolError {
  return new ProtocolError('provider_answer_invalid', `${name} ${what}.`, {
    hint: 'Check that the name is that of a provider, and tell its operator.',
  })
}
