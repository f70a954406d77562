import type { RpcCall } from './rpc-server.ts'

/** What a server said: a result, or what the EVM refused. Trouble on the way is neither. */
export type Answer =
  | { readonly kind: 'result'; readonly result: unknown }
  | { readonly kind: 'refused'; readonly error: unknown }

type Merge = (a: unknown, b: unknown, params: readonly unknown[]) => unknown | typeof contradiction

const contradiction = Symbol('contradiction')

/**
 * Questions that decide about money, which two servers are asked where there are two. Of heights and counts the lower
 * one holds: what both of them have. All else must be the same.
 */
const merges: Readonly<Record<string, Merge>> = {
  eth_blockNumber: lower,
  eth_getTransactionCount: lower,
  eth_getBlockByNumber: (a, b, [at]) =>
    typeof at === 'string' && at.startsWith('0x') ? same(pickBlock(a), pickBlock(b), a) : lowerBlock(a, b),
  eth_getLogs: (a, b) => same(sortLogs(a), sortLogs(b), a),
  eth_getTransactionReceipt: (a, b) => same(pickReceipt(a), pickReceipt(b), a),
  eth_call: (a, b) => same(a, b, a),
}

export const isCompared = ({ method, params }: RpcCall): boolean =>
  Object.hasOwn(merges, method) && !(Array.isArray(params) && params.includes('pending'))

/** @returns what holds by both answers; undefined where they contradict each other */
export function mergeAnswers({ method, params }: RpcCall, a: Answer, b: Answer): Answer | undefined {
  if (a.kind === 'refused' || b.kind === 'refused') return a.kind === b.kind ? a : undefined
  const merged = merges[method]?.(a.result, b.result, Array.isArray(params) ? params : [])
  return merged === contradiction ? undefined : { kind: 'result', result: merged }
}

/** The height that an answer claims the chain to have; undefined where it is about something else. */
export function claimedHeight({ method, params }: RpcCall, answer: Answer): bigint | undefined {
  if (answer.kind === 'refused') return undefined
  const [filter] = Array.isArray(params) ? params : []
  if (method === 'eth_blockNumber') return toQuantity(answer.result)
  if (method === 'eth_getBlockByNumber') return toQuantity(pickBlock(answer.result)?.[0])
  return method === 'eth_getLogs'
    ? toQuantity((filter as { toBlock?: unknown } | undefined)?.toBlock)
    : undefined
}

const same = (a: unknown, b: unknown, result: unknown) =>
  JSON.stringify(a) === JSON.stringify(b) ? result : contradiction

function lower(a: unknown, b: unknown) {
  const [first, second] = [toQuantity(a), toQuantity(b)]
  if (first === undefined || second === undefined) return contradiction
  return second < first ? b : a
}

function lowerBlock(a: unknown, b: unknown) {
  const [first, second] = [toQuantity(pickBlock(a)?.[0]), toQuantity(pickBlock(b)?.[0])]
  if (first === undefined || second === undefined) return contradiction
  if (first === second) return same(pickBlock(a), pickBlock(b), a)
  return second < first ? b : a
}

type Fields = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null

/** Number, hash and time; null where there is no such block. */
const pickBlock = (block: unknown) =>
  isObject(block) ? [quantity(block['number']), lowerCase(block['hash']), quantity(block['timestamp'])] : null

const pickReceipt = (receipt: unknown) =>
  isObject(receipt)
    ? [
        lowerCase(receipt['transactionHash']),
        lowerCase(receipt['blockHash']),
        quantity(receipt['blockNumber']),
        quantity(receipt['status']),
        sortLogs(receipt['logs']),
      ]
    : null

/** What logs say, in the order of the chain: servers differ in the fields that they add. */
function sortLogs(logs: unknown): unknown {
  if (!Array.isArray(logs)) return null
  return logs
    .map((log: unknown) =>
      isObject(log)
        ? [
            quantity(log['blockNumber']),
            quantity(log['logIndex']),
            lowerCase(log['blockHash']),
            lowerCase(log['transactionHash']),
            lowerCase(log['address']),
            lowerCase(log['data']),
            Array.isArray(log['topics']) ? log['topics'].map(lowerCase) : null,
          ].map((part) => JSON.stringify(part))
        : ['null'],
    )
    .sort((a, b) => (a.join() < b.join() ? -1 : 1))
}

const lowerCase = (value: unknown) => (typeof value === 'string' ? value.toLowerCase() : null)

const quantity = (value: unknown) => toQuantity(value)?.toString() ?? null

function toQuantity(value: unknown): bigint | undefined {
  if (typeof value !== 'string' || !/^(0x[0-9a-f]{1,64}|\d{1,78})$/i.test(value)) return undefined
  return BigInt(value)
}
