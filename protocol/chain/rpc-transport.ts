import { BaseError, custom, http, type Transport } from 'viem'
import { limits } from '../limits.ts'

/**
 * A way to a chain over several RPC servers. They are asked in the order given, each after the one before has failed;
 * but one that is behind the others, stuck at an old block for example, is asked last, until it has caught up. How far
 * each has come is asked of all of them at most every few seconds, beside the requests that it is for.
 *
 * @param nowMs - Monotonic.
 */
export function createRpcTransport(
  rpcUrls: readonly URL[],
  nowMs: () => number = () => performance.now(),
): Transport {
  return (config) => {
    const servers = rpcUrls.map((url) => {
      const { request } = http(url.href, { timeout: limits.rpcTimeoutMs, retryCount: 0 })(config)
      return { request, isBehind: false }
    })
    let checkedMs = Number.NEGATIVE_INFINITY
    let checking: Promise<void> | undefined

    async function readHead({ request }: (typeof servers)[number]): Promise<bigint | undefined> {
      const head = await request({ method: 'eth_blockNumber' }).catch(() => undefined)
      return typeof head === 'string' && /^0x[0-9a-f]{1,16}$/i.test(head) ? BigInt(head) : undefined
    }

    async function compareHeads(): Promise<void> {
      const heads = await Promise.all(servers.map(readHead))
      const lagging = findLagging(heads)
      servers.forEach((server, index) => {
        server.isBehind = lagging.has(index)
      })
    }

    /** The first comparison is waited for; later ones go on beside the requests. */
    function checkHeads(): Promise<void> | undefined {
      if (servers.length === 1) return undefined
      if (!checking && nowMs() - checkedMs >= limits.rpcCheckIntervalMs) {
        const isFirst = checkedMs === Number.NEGATIVE_INFINITY
        checkedMs = nowMs()
        checking = compareHeads().finally(() => {
          checking = undefined
        })
        if (isFirst) return checking
      }
      return undefined
    }

    async function request({ method, params }: { method: string; params?: unknown }): Promise<unknown> {
      await checkHeads()
      const inOrder = servers.toSorted((a, b) => Number(a.isBehind) - Number(b.isBehind))
      let failure: unknown
      for (const server of inOrder) {
        try {
          return await server.request({ method, params } as never)
        } catch (error) {
          if (isAnswer(error)) throw error
          failure = error
        }
      }
      throw failure
    }

    return custom({ request }, { retryCount: 0 })(config)
  }
}

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
function isAnswer(error: unknown): boolean {
  const isRevert = (part: unknown) => (part as { code?: unknown }).code === 3
  const hasData = (part: unknown) => typeof (part as { data?: unknown }).data === 'string'
  return error instanceof BaseError && Boolean(error.walk((part) => isRevert(part) || hasData(part)))
}
