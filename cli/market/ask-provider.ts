import type { z } from 'zod'
import { utf8 } from '../../protocol/base/bytes.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { isProtocolError, ProtocolError, parseProblem } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { describeIssues } from '../../protocol/schema.ts'
import { signStatementRequest } from '../../protocol/statement-request.ts'
import type { CommandContext } from '../command.ts'
import { requestHttp } from '../http.ts'
import type { Writer } from './write.ts'

/** A provider at its gateway. */
export interface ProviderPlace {
  readonly name: string
  readonly address: `0x${string}`
  readonly url: URL
}

/**
 * Asks one provider for what it shows to the account that signs only. A request is signed anew before it ends, and waits
 * where the provider has others to serve.
 */
export interface ProviderAccount {
  /** @throws ProtocolError what the provider says; `provider_unreachable`, `provider_answer_invalid` */
  read<T extends z.ZodType>(
    path: string,
    query: Readonly<Record<string, string>>,
    schema: T,
  ): Promise<z.output<T>>
}

/** Less than what providers take, as clocks differ. */
const validSeconds = limits.statementRequestAgeSecondsMax - 60
const renewSeconds = 60

export function createProviderAccount(
  provider: ProviderPlace,
  { account, market }: Pick<Writer, 'account' | 'market'>,
  { clock, signal }: Pick<CommandContext, 'clock' | 'signal'>,
): ProviderAccount {
  let signed: { readonly token: string; readonly validBefore: number } | undefined

  async function sign(): Promise<string> {
    const nowSeconds = Math.floor(clock.nowMs() / 1000)
    if (signed && signed.validBefore - nowSeconds > renewSeconds) return signed.token
    const validBefore = nowSeconds + validSeconds
    const request = { payer: account.address, provider: provider.address, validBefore }
    const { chainId, contracts } = market
    signed = {
      validBefore,
      token: await signStatementRequest(request, account, { chainId, escrow: contracts.escrow }),
    }
    return signed.token
  }

  return {
    async read(path, query, schema) {
      const url = new URL(path, provider.url)
      for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
      for (let attempt = 1; ; attempt += 1) {
        const headers = { authorization: `Bearer ${await sign()}` }
        try {
          return await askProvider(provider, { url, headers }, schema, signal)
        } catch (error) {
          const waitMs = attempt < attemptsMax ? busyForMs(error) : undefined
          if (waitMs === undefined) throw error
          await clock.sleep(waitMs, signal)
        }
      }
    },
  }
}

/** Others are served at this moment: a statement of thousands of pages must not end for that. */
const attemptsMax = 10

/** Set where a provider says when it has time again, and that is soon. */
function busyForMs(error: unknown): number | undefined {
  if (!isProtocolError(error) || error.code !== 'too_many_requests') return undefined
  const seconds = error.details['retryAfterSeconds']
  return typeof seconds === 'number' && seconds >= 0 && seconds <= 10 ? seconds * 1000 : undefined
}

/** Sends a provider one request for JSON. @throws as `ProviderAccount.read` */
export async function askProvider<T extends z.ZodType>(
  { name }: Pick<ProviderPlace, 'name'>,
  { url, body, headers = {} }: { url: URL; body?: string; headers?: Readonly<Record<string, string>> },
  schema: T,
  signal: AbortSignal,
): Promise<z.output<T>> {
  const answer = await requestHttp(
    {
      url,
      bytesMax: limits.statementPageBytesMax,
      headers,
      ...(body !== undefined && { method: 'POST', body: utf8.encode(body) }),
      silence: {
        code: 'provider_unreachable',
        message: `${name} does not answer at ${url.host}.`,
        hint: 'Try again later; what was asked for changes nothing.',
      },
    },
    signal,
  )
  const value = parseJson(answer.body)
  const problem = answer.status === 200 ? undefined : parseProblem(value)
  if (problem) {
    const { code, detail, hint, ...details } = problem
    throw new ProtocolError(code, `${name}: ${detail}`, { hint, details })
  }
  const parsed = schema.safeParse(value)
  if (answer.status === 200 && parsed.success) return parsed.data
  const fault =
    parsed.success || answer.status !== 200 ? `status ${answer.status}` : describeIssues(parsed.error)
  throw new ProtocolError('provider_answer_invalid', `${url.host} does not show its accounts: ${fault}.`, {
    hint: 'Ask its operator which version it runs.',
  })
}
