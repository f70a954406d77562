import { http, type TransportConfig } from 'viem'
import { readBounded } from '../base/bytes.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'

export interface RpcCall {
  readonly method: string
  readonly params?: unknown
}

/** One JSON-RPC server, and what it said of itself when it was asked last. */
export interface RpcServer {
  /** One answer within the time limit, whole and bounded. @throws what viem makes of a failure */
  request(call: RpcCall): Promise<unknown>
  /** Asks it how far it has come and which chain it is on. Never fails. */
  check(): Promise<void>
  /** Its newest block; undefined where it does not answer, or has not been asked. */
  readonly head: bigint | undefined
  /** The chain that it named last. */
  readonly chainId: number | undefined
  /** Far behind the others: asked last, and not asked to confirm anything. */
  isBehind: boolean
}

type ViemConfig = Parameters<ReturnType<typeof http>>[0] & Partial<TransportConfig>

export function createRpcServer(
  url: URL,
  config: ViemConfig,
  { timeoutMs = limits.rpcTimeoutMs }: { readonly timeoutMs?: number } = {},
): RpcServer {
  const transport = http(url.href, {
    timeout: timeoutMs,
    retryCount: 0,
    maxResponseBodySize: limits.rpcAnswerBytesMax,
    fetchFn: fetchWhole,
  })
  const request = transport(config).request as unknown as RpcServer['request']
  let head: bigint | undefined
  let chainId: number | undefined

  async function readQuantity(method: string): Promise<bigint | undefined> {
    const answer = await request({ method }).catch(() => undefined)
    return typeof answer === 'string' && /^0x[0-9a-f]{1,16}$/i.test(answer) ? BigInt(answer) : undefined
  }

  return {
    request,
    get head() {
      return head
    },
    get chainId() {
      return chainId
    },
    isBehind: false,
    async check() {
      const [newest, named] = await Promise.all([
        readQuantity('eth_blockNumber'),
        readQuantity('eth_chainId'),
      ])
      head = newest
      // Silence is no change of mind.
      if (named !== undefined) chainId = Number(named)
    },
  }
}

/** Reads the body, too, while the time runs: viem's ends with the head, and a body that drips would be waited for for ever. */
async function fetchWhole(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const response = await fetch(input, init)
  const body = await readBounded(response.body ?? new Blob().stream(), limits.rpcAnswerBytesMax)
  if (!body) {
    throw new ProtocolError(
      'chain_unreachable',
      `An RPC server answers with more than ${limits.rpcAnswerBytesMax} bytes.`,
      {
        hint: 'Use another RPC server.',
      },
    )
  }
  const { status, statusText, headers } = response
  const type = headers.get('content-type')
  return new Response(Buffer.from(body), {
    status,
    statusText,
    headers: type === null ? {} : { 'content-type': type },
  })
}
