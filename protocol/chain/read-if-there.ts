import { BaseError } from 'viem'
import { isProtocolError } from '../errors.ts'
import { reachChain } from './client.ts'

/** Asks a contract that may not be there or may not know the question. @returns undefined then */
export async function readIfThere<T>(
  ask: () => Promise<T>,
  what: string,
  signal: AbortSignal,
): Promise<T | undefined> {
  try {
    return await reachChain(ask(), what, signal)
  } catch (error) {
    if (isRefusal(error)) return undefined
    throw error
  }
}

/** Whether the chain itself said no; everything else is trouble on the way, and says nothing. */
export function isRefusal(error: unknown): boolean {
  if (!isProtocolError(error)) return false
  if (error.code === 'chain_disputed') return false
  if (error.code !== 'chain_unreachable') return true
  const { cause } = error
  return cause instanceof BaseError && cause.walk(isSaidByChain) !== null
}

function isSaidByChain(part: unknown): boolean {
  if (!(part instanceof Error)) return false
  if (part.name === 'ContractFunctionZeroDataError' || part.name === 'ContractFunctionRevertedError')
    return true
  return part.name === 'RpcRequestError' && /revert|out of gas/i.test(part.message)
}
