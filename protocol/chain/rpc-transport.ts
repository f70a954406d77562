import { BaseError, custom, type Transport } from 'viem'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type Answer, claimedHeight, isCompared, mergeAnswers } from './compare-answers.ts'
import { createRpcServer, type RpcCall, type RpcServer } from './rpc-server.ts'

export interface RpcTransportOptions {
  /** Servers of another chain are not asked. Left out where that is what is to be found out. */
  readonly chainId?: number | undefined
  /** Monotonic. */
  readonly nowMs?: () => number
}

/**
 * A way to a chain over several RPC servers. They are asked in the order given, each after the one before has failed;
 * but one that is behind the others, stuck at an old block for example, is asked last, until it has caught up. What
 * decides about money is asked of two: where they contradict each other a third decides, and without one nobody is
 * believed. How far each has come is asked of all of them at most every few seconds, beside the requests that it is for.
 */
export function createRpcTransport(
  rpcUrls: readonly URL[],
  { chainId, nowMs = () => performance.now() }: RpcTransportOptions = {},
): Transport {
  return (config) => {
    const servers = rpcUrls.map((url) => createRpcServer(url, config))
    let checkedMs = Number.NEGATIVE_INFINITY
    let checking: Promise<void> | undefined

    async function checkAll(): Promise<void> {
      await Promise.all(servers.map((server) => server.check()))
      const ours = servers.filter(isOurs)
      const lagging = findLagging(ours.map(({ head }) => head))
      ours.forEach((server, index) => {
        server.isBehind = lagging.has(index)
      })
    }

    /** The first look is waited for; later ones go on beside the requests. */
    function checkSometimes(): Promise<void> | undefined {
      // Who missed a look is no witness, so what the others say alone would be believed until the next one.
      const isMissed = servers.some(({ head }) => head === undefined)
      const intervalMs = isMissed ? limits.rpcRecheckIntervalMs : limits.rpcCheckIntervalMs
      if (!checking && nowMs() - checkedMs >= intervalMs) {
        const isFirst = checkedMs === Number.NEGATIVE_INFINITY
        checkedMs = nowMs()
        checking = checkAll().finally(() => {
          checking = undefined
        })
        if (isFirst) return checking
      }
      return undefined
    }

    const isOurs = (server: RpcServer) =>
      chainId === undefined || server.chainId === undefined || server.chainId === chainId

    async function request(call: RpcCall): Promise<unknown> {
      // Which chain it is the caller compares itself.
      if (call.method === 'eth_chainId') return askInTurn(servers, call)
      await checkSometimes()
      const inOrder = servers.filter(isOurs).toSorted((a, b) => Number(a.isBehind) - Number(b.isBehind))
      if (inOrder.length === 0) throw otherChain(servers, chainId)
      if (call.method === 'eth_sendRawTransaction') return offerToAll(inOrder, call)
      const witnesses = inOrder.filter(({ isBehind, head }) => !isBehind && head !== undefined)
      if (witnesses.length < 2 || !isCompared(call)) return askInTurn(inOrder, call)
      const answer = await compare(witnesses, call)
      return answer ? open(answer) : askInTurn(inOrder, call)
    }

    return custom({ request }, { retryCount: 0 })(config)
  }
}

async function askInTurn(servers: readonly RpcServer[], call: RpcCall): Promise<unknown> {
  let failure: unknown
  for (const server of servers) {
    try {
      return await server.request(call)
    } catch (error) {
      if (isRefusal(error)) throw error
      failure = error
    }
  }
  throw failure
}

/** One that keeps a transaction to itself must not be the only one that has it. */
async function offerToAll(servers: readonly RpcServer[], call: RpcCall): Promise<unknown> {
  const offered = await Promise.allSettled(servers.map((server) => server.request(call)))
  const taken = offered.find(({ status }) => status === 'fulfilled')
  if (taken?.status === 'fulfilled') return taken.value
  const [first] = offered
  throw first?.status === 'rejected' ? first.reason : new Error('There is no RPC server.')
}

/** @returns what two servers say alike, or the only one that says anything; undefined where none does */
async function compare(servers: readonly RpcServer[], call: RpcCall): Promise<Answer | undefined> {
  const [first, second, ...others] = servers
  const both = await Promise.all([first, second].map((server) => server && ask(server, call)))
  const spoken = both.filter((answer) => answer !== undefined)
  for (const server of others) {
    const found = findAgreement(spoken, call)
    if (found) return found
    const answer = await ask(server, call)
    if (answer) spoken.push(answer)
  }
  const found = findAgreement(spoken, call)
  if (found) return found
  const [only, another] = spoken
  if (another || (only && isBeyond(only, servers, call))) throw disputed(call)
  return only
}

function findAgreement(spoken: readonly Answer[], call: RpcCall): Answer | undefined {
  for (const [index, a] of spoken.entries()) {
    for (const b of spoken.slice(index + 1)) {
      const merged = mergeAnswers(call, a, b)
      if (merged) return merged
    }
  }
  return undefined
}

/** Whether one speaks of blocks that no other has: those had nothing to say because there is nothing. */
function isBeyond(only: Answer, servers: readonly RpcServer[], call: RpcCall): boolean {
  const height = claimedHeight(call, only)
  const heads = servers.flatMap(({ head }) => head ?? [])
  return height !== undefined && heads.some((head) => height > head + BigInt(limits.rpcLagBlocksMax))
}

async function ask(server: RpcServer, call: RpcCall): Promise<Answer | undefined> {
  try {
    return { kind: 'result', result: await server.request(call) }
  } catch (error) {
    return isRefusal(error) ? { kind: 'refused', error } : undefined
  }
}

function open(answer: Answer): unknown {
  if (answer.kind === 'refused') throw answer.error
  return answer.result
}

const disputed = ({ method }: RpcCall) =>
  new ProtocolError('chain_disputed', `The RPC servers contradict each other (${method}).`, {
    hint: 'The operator must find out which of them is wrong, or add a third.',
  })

const otherChain = ([server]: readonly RpcServer[], chainId: number | undefined) =>
  new ProtocolError(
    'chain_unreachable',
    `The RPC server is on chain ${server?.chainId}, not on ${chainId}.`,
    {
      hint: 'The operator must name an RPC server of the chain that the escrow is on.',
    },
  )

/**
 * Who is further behind than blocks take to get around. They are measured by the one in the middle, the higher of two:
 * one server that makes up a height must not make all others look late.
 *
 * @param heads - Undefined where a server does not answer; its next request will tell.
 */
export function findLagging(heads: readonly (bigint | undefined)[]): ReadonlySet<number> {
  const known = heads.filter((head) => head !== undefined).sort((a, b) => (a < b ? -1 : 1))
  const middle = known[Math.floor(known.length / 2)]
  if (middle === undefined) return new Set()
  const least = middle - BigInt(limits.rpcLagBlocksMax)
  return new Set(heads.flatMap((head, index) => (head !== undefined && head < least ? [index] : [])))
}

/** What the EVM or the pool said: another server would say the same, or, worse, something else. */
function isRefusal(error: unknown): boolean {
  const isRevert = (part: unknown) => (part as { code?: unknown }).code === 3
  const hasData = (part: unknown) => typeof (part as { data?: unknown }).data === 'string'
  return error instanceof BaseError && Boolean(error.walk((part) => isRevert(part) || hasData(part)))
}
