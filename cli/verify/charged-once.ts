import type { Address, Hex } from 'viem'
import type { CallAttempt } from '../../protocol/call-attempt.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { zeroUsdc } from '../../protocol/usdc.ts'
import { type CommandContext, usageError } from '../command.ts'
import { createProviderAccount } from '../market/ask-provider.ts'
import { readOrigins } from '../market/provider-origin.ts'
import { readProvider } from '../market/resolve-provider.ts'
import type { Writer } from '../market/write.ts'
import { createReceiptSource } from '../statement/receipt-source.ts'
import type { ShownCheck } from './assert-holds.ts'

/** A provider that may have charged for a call, with what it shows of that. */
export interface ShownCharges {
  readonly name: string
  readonly address: Address
  readonly receipts: readonly Receipt[]
}

export interface OnceWish {
  /** Who may have been asked: those of the answer's `Khachapuri-Attempt`, and those that the payment names. */
  readonly attempts: readonly CallAttempt[]
  readonly names: readonly string[]
  /** Other calls of the payer, that are known to it. */
  readonly known: readonly Hex[]
}

/**
 * Whether one provider charged for a call, and no other of those that may have had it: by the books of each, as it shows them to the payer.
 *
 * @throws ProtocolError what the providers say; `usage_invalid` for who is not the payer
 */
export async function checkChargedOnce(
  receipt: Receipt,
  { attempts, names, known }: OnceWish,
  writer: Writer,
  context: CommandContext,
): Promise<ShownCheck> {
  if (writer.account.address !== receipt.payer)
    throw usageError(
      `${receipt.payer} paid for the call.`,
      'Only it is shown what it was charged: see --account.',
    )
  const originOf = await readOrigins(writer, context)
  const asked = [...new Set([...attempts.map(({ name }) => name), ...names])]
  const charges: ShownCharges[] = []
  for (const name of asked) {
    const { address, server, name: registered } = await readProvider(name, writer, context)
    const url = originOf({ name: registered, server })
    const account = createProviderAccount({ name, address, url }, writer, context)
    const receipts: Receipt[] = []
    try {
      const source = createReceiptSource(account, { payer: receipt.payer, provider: address })
      for await (const { charged } of source.takeRest()) receipts.push(charged.receipt)
    } catch (error) {
      // It has never been paid by this payer.
      if (!isProtocolError(error) || error.code !== 'not_found') throw error
    }
    charges.push({ name, address, receipts: receipts.filter((one) => isSameCall(one, receipt)) })
  }
  const strangers = attempts.filter(({ name, address }) =>
    charges.every((shown) => shown.name !== name || shown.address !== address),
  )
  return strangers.length > 0
    ? {
        name: 'attempts',
        verdict: 'wrong',
        says: `the registry has another account for ${strangers[0]?.name}`,
      }
    : judgeCharges(receipt, charges, known)
}

/** The same request of the same payer, at about the same time: clocks of providers differ, and nobody is waited for so long. */
function isSameCall(one: Receipt, receipt: Receipt): boolean {
  return (
    one.priceUsdc !== zeroUsdc &&
    one.deployment === receipt.deployment &&
    one.requestDigest === receipt.requestDigest &&
    Math.abs(one.startedAt - receipt.startedAt) <= limits.attemptWindowMs
  )
}

export function judgeCharges(
  receipt: Receipt,
  shown: readonly ShownCharges[],
  known: readonly Hex[],
): ShownCheck {
  const name = 'once'
  const names = shown.map((one) => one.name).join(', ')
  const own = shown.find(({ address }) => address === receipt.provider)
  if (!own) return { name, verdict: 'wrong', says: `the receipt is of none of these: ${names || 'nobody'}` }
  const isShown = own.receipts.some(({ callId }) => callId === receipt.callId)
  if (!isShown && receipt.priceUsdc !== zeroUsdc)
    return { name, verdict: 'wrong', says: `${own.name} does not show the call in its books` }
  const others = shown.flatMap(({ name: by, receipts }) =>
    receipts
      .filter(({ callId }) => callId !== receipt.callId && !known.includes(callId))
      .map(({ callId }) => `${by} by call ${callId}`),
  )
  return others.length === 0
    ? { name, verdict: 'ok', says: `${own.name} alone, of ${names}` }
    : { name, verdict: 'wrong', says: `the same request was charged by ${others.join(', ')}, too` }
}

export const chargedTwice = (why: string, facts: Readonly<Record<string, unknown>>) =>
  new ProtocolError('charged_twice', `More than one charge, or none: ${why}.`, {
    hint: 'Where you made the same call twice within a minute, name the other one with --also <call>. Else keep the receipts of both.',
    details: facts,
  })
