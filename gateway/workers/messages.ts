import type { Address } from 'viem'
import type { GatewayInfo } from '../../protocol/gateway.ts'
import type { TlsIdentity } from '../../protocol/http/secure-server.ts'
import type { StartClusterOptions } from '../cluster/open-cluster.ts'
import type { GatewayOptions, SeenCalls } from '../gateway.ts'
import type { FrontRules } from '../limits/front-rules.ts'
import type { Spend } from '../limits/spend-book.ts'
import type { PemPair } from '../tls/dev-authority.ts'
import type { Sibling } from './siblings.ts'

/** What a gateway's first process tells a further one. Keys go this way, too: never in arguments or variables. */
export type ToWorker =
  | { readonly kind: 'start'; readonly start: WorkerStart }
  | { readonly kind: 'siblings'; readonly siblings: readonly Sibling[] }
  | { readonly kind: 'rules'; readonly rules: FrontRules }
  | { readonly kind: 'identity'; readonly identity: TlsIdentity }
  | { readonly kind: 'metrics'; readonly id: number }
  /** What a provider has said. */
  | { readonly kind: 'announced'; readonly text: string }
  /** What other processes let through. */
  | { readonly kind: 'spent'; readonly spends: readonly Spend[] }
  /** A block that was asked for; undefined with the reason why not. */
  | {
      readonly kind: 'block'
      readonly id: number
      readonly bytes?: Uint8Array
      readonly problem?: WorkerProblem
    }
  /** The certificate of a domain that was asked for; undefined where there is none. */
  | { readonly kind: 'certificate'; readonly id: number; readonly pair: PemPair | undefined }
  /** Ends what is in flight, and then itself. */
  | { readonly kind: 'stop' }

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly error: string }
  | { readonly kind: 'presence'; readonly provider: Address; readonly isPresent: boolean }
  | { readonly kind: 'metrics'; readonly id: number; readonly metrics: unknown[] }
  | { readonly kind: 'block'; readonly id: number; readonly cid: string }
  | { readonly kind: 'spent'; readonly spends: readonly Spend[] }
  | { readonly kind: 'seen'; readonly seen: SeenCalls }
  /** Somebody shakes hands for a domain of others. */
  | { readonly kind: 'certificate'; readonly id: number; readonly servername: string }

export interface WorkerProblem {
  readonly code: string
  readonly message: string
  readonly hint: string
}

export interface WorkerStart {
  readonly options: Omit<GatewayOptions, 'info' | 'port' | 'host' | 'otherGateways'> & {
    readonly host: string
    readonly port: number
    readonly info: Omit<GatewayInfo, 'domain' | 'keeper' | 'tunnel'>
  }
  readonly rpcUrls: readonly string[]
  readonly pollIntervalMs: number | undefined
  readonly tracing: { readonly url: string; readonly sampleRatio: number } | undefined
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  /** Which of the processes this is, from 1 on. */
  readonly worker: number
  /** Its Unix socket, and that of the first process. */
  readonly path: string
  readonly homePath: string
  /** All of them take each other's resume tickets. */
  readonly ticketKey: Uint8Array
  /** It is a member of the cluster, too, with tunnels and a place for hops of its own. */
  readonly cluster?: StartClusterOptions
  readonly siblings: readonly Sibling[]
  /** Whether the first process can be asked for certificates of domains of others. */
  readonly hasDomainCertificates: boolean
}
