import { z } from 'zod'
import { type CallInput, parseCallInput } from '../../protocol/call-record.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { type CommandContext, usageError } from '../command.ts'
import { openAccount } from '../keys/account.ts'
import { createProviderAccount } from '../market/ask-provider.ts'
import { type MarketPlace, providerUrl, readGatewayInfo } from '../market/market.ts'
import type { AccountFlags } from '../market/options.ts'
import { isUrl, readKeptFile } from '../verify/read-source.ts'
import { parseRequestLine } from '../verify/request-line.ts'

export interface InputFlags extends AccountFlags {
  readonly record?: string | undefined
  readonly request?: string | undefined
  readonly data?: string | undefined
  readonly provider?: string | undefined
}

/**
 * What the call was asked with: as its caller kept it, or as its provider shows it to the account. Whether it is that says
 * the receipt's digest.
 *
 * @throws ProtocolError `usage_invalid`, `replay_impossible`, and what the provider says
 */
export async function findInput(
  { source, receipt }: { readonly source: string; readonly receipt: Receipt },
  flags: InputFlags,
  market: MarketPlace,
  context: CommandContext,
): Promise<CallInput> {
  const { record, request, data } = flags
  if (data !== undefined && request === undefined)
    throw usageError('--data belongs to a request.', 'Add --request "POST /path".')
  if (request !== undefined) {
    const body = data === undefined ? new Uint8Array() : await readKeptFile(data, context)
    return { ...parseRequestLine(request, receipt.deployment), body }
  }
  if (record === undefined) return askInput({ source, receipt }, flags, market, context)
  const input = parseCallInput(parseJson(await readKeptFile(record, context)))
  if (input) return input
  throw new ProtocolError('replay_impossible', `${record} is no record of a call.`, {
    hint: 'Take what /_/receipts/<call>/record shows, or say --request and --data.',
  })
}

/** Any shape here: the digest of what it holds is compared. */
const recordSchema = z.record(z.string(), z.unknown()).transform((json, context): CallInput => {
  const input = parseCallInput(json)
  if (input) return input
  context.addIssue({ code: 'custom', message: 'it is no record of a call' })
  return z.NEVER
})

async function askInput(
  { source, receipt }: { readonly source: string; readonly receipt: Receipt },
  flags: InputFlags,
  market: MarketPlace,
  context: CommandContext,
): Promise<CallInput> {
  const name = flags.provider
  if (name === undefined && !isUrl(source))
    throw usageError(
      'Who has the record of the call is not said.',
      'Name the provider with --provider <name>, or say --request "POST /path" and --data <file>.',
    )
  const url =
    name === undefined
      ? new URL(new URL(source).origin)
      : providerUrl(market.gateway, (await readGatewayInfo(market.gateway, context.signal)).domain, name)
  const account = await openAccount(flags, market, context)
  const provider = { name: name ?? url.host, address: receipt.provider, url }
  const asked = createProviderAccount(provider, { account, market }, context)
  return asked.read(`/_/receipts/${receipt.callId}/record`, {}, recordSchema)
}
