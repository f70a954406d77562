import type { Activations, Capabilities } from '../../protocol/activation.ts'
import type { Json } from '../../protocol/canonical-json.ts'
import type { Egress } from '../../protocol/egress.ts'
import { type ErrorCode, ProtocolError } from '../../protocol/errors.ts'
import type { RawHeaders, UpstreamExchange, UpstreamRequest } from '../../protocol/http/upstream.ts'
import type { NativeMode, RuntimeKind } from '../../protocol/program.ts'
import type { EgressAllowance } from '../egress/budget.ts'

/**
 * How much stands between a program and the machine: `sandbox` is namespaces, system call filter and hard memory
 * limits together, tried at start; `process` is less than that, and fit for programs of people one trusts only.
 */
export type Tier = 'sandbox' | 'process'

/** The files of a program, as they were in its zip. */
export interface ProgramFiles {
  readonly files: readonly ProgramFile[]
  /** The path of the file that answers. */
  readonly entry: string
  /** How a native program answers; `cgi` where it does not say. */
  readonly native?: NativeMode | undefined
  /** The methods that a `js` program exports as `activations`, and what they may ask of the provider. */
  readonly activations?: Activations | undefined
  readonly capabilities?: Capabilities | undefined
}

export interface ProgramFile {
  readonly path: string
  readonly bytes: Uint8Array
  readonly executable?: boolean
}

export interface ProgramLimits {
  /** Wall time of one call, without the time that it waited for its caller. */
  readonly timeoutMs: number
  /** What the program may hold beside the runtime itself. */
  readonly memoryMiB: number
  /** What it may reach; nothing by default. */
  readonly egress?: Egress
  /** Processor time of one call; calls that run together share what they use evenly. As `timeoutMs` by default. */
  readonly cpuMs?: number | undefined
  /** What the body of an answer may have. */
  readonly responseBytes?: number | undefined
  /** How long a WebSocket lasts; as long as any may by default. */
  readonly webSocketMs?: number | undefined
}

export interface StartOptions {
  /** Secrets. They reach the program's memory and nothing else: no argument, no file, no environment. */
  readonly env: Readonly<Record<string, string>>
  /** Public settings. */
  readonly params: Json
  readonly limits: ProgramLimits
  /**
   * Signs what activations of a `js` program say. A process that has it is given activations only, so that the handler of pages has
   * no way to it.
   */
  readonly attest?: ((message: Uint8Array) => Promise<Uint8Array>) | undefined
  /** Hears what the program prints, as it comes, up to a rate; the rest waits in the program. */
  readonly onOutput?: (chunk: Buffer) => void
  /** Hears of processes that were ended for their limits while the program goes on: in the CGI way each call has its own. */
  readonly onBreach?: ((breach: Breach) => void) | undefined
}

export interface Breach {
  readonly kind: 'timeout' | 'out_of_memory' | 'out_of_cpu' | 'out_of_pids'
  /** When the process began, by a monotonic clock. */
  readonly startedMs: number
}

/** One way to run programs. */
export interface Runtime extends AsyncDisposable {
  readonly kind: RuntimeKind
  /** What a process takes beside what its program may use: memory of the engine, or of the walls. */
  readonly overheadMiB: number
  /**
   * Refuses what would never start here; absent where every program of its kind might.
   *
   * @throws ProtocolError `runtime_unavailable`
   */
  readonly assertTakes?: (program: ProgramWishes) => void
  /** Attacks its own sandbox and says what held. Asked once; the answer is kept. */
  probe(signal: AbortSignal): Promise<Probe>
  /**
   * Starts a program and waits until it can answer.
   *
   * @throws ProtocolError `deployment_invalid` where this kind of program cannot have its egress; `program_invalid`,
   * `program_crashed`, `program_timeout` or `program_out_of_memory` where
   * the program is at fault; `sandbox_unavailable` where this machine is.
   */
  start(program: ProgramFiles, options: StartOptions, signal: AbortSignal): Promise<Instance>
}

/** What a deployment says of how its program answers and what it reaches. */
export interface ProgramWishes {
  readonly native?: NativeMode | undefined
  readonly egress?: Egress | undefined
}

export interface Probe {
  readonly tier: Tier
  readonly walls: Walls
  /** Why the tier is not `sandbox`, and what else an operator should know; empty where all is well. */
  readonly reasons: readonly string[]
  /** What runs the programs, with its version. */
  readonly engine: string
}

/** What stands between a program and the machine. */
export interface Walls {
  /** Bubblewrap: its own view of files, network, processes and users. */
  readonly namespaces: boolean
  readonly seccomp: boolean
  /** Hard limits of memory, processor and processes. */
  readonly cgroups: boolean
  /** A user id that nothing else has; without root the programs share the provider's own, behind the other walls. */
  readonly ownUser: boolean
}

/** A program that runs. Disposing stops it; calls in flight end as `stopped`. */
export interface Instance extends AsyncDisposable {
  /** Sends one request to the program. Request headers are end-to-end ones, with `host`. */
  call(request: UpstreamRequest, handler: CallHandler): UpstreamExchange
  readonly inFlight: number
  /** Calls that ended as `answered`. */
  readonly callsAnswered: number
  /** Whether another call has a chance; a promise while a late call leaves that in doubt. */
  readonly isAlive: boolean | Promise<boolean>
  /** Resolves when no call is in flight, at once if there is none. */
  whenIdle(): Promise<void>
  /** Ends the process at once; calls in flight end with what the reason means for them. */
  kill(reason: KillReason): void
  /** Settles once the process has gone. */
  readonly whenDead: Promise<Death>
  /** What the process has used so far, as far as the machine can tell. */
  usage(): Usage
}

export interface Usage {
  readonly cpuMs?: number
  readonly memoryBytes?: number
  /** What went over the network; absent where it has none. */
  readonly egress?: EgressAllowance
}

/** The receiving side of a call. `onEnd` comes exactly once, unless the exchange was aborted before. */
export interface CallHandler {
  /** Comes at most once, and only from the program: a fault before it leaves the answer to the provider. */
  onHead(status: number, rawHeaders: RawHeaders): void
  onData(chunk: Buffer): void
  /** @param rawTrailers - What followed the body of an answer, unless that was nothing. */
  onEnd(outcome: CallOutcome, rawTrailers?: RawHeaders): void
}

/** How a call ended. After `onHead`, anything but `answered` means that the body is not whole. */
export type CallOutcome =
  /** `isCut` where it was a WebSocket whose time was over. */
  | { readonly kind: 'answered'; readonly isCut?: true }
  /** `code` where the caller is told another one than `program_crashed`. */
  | { readonly kind: 'crashed'; readonly message: string; readonly code?: FaultCode | undefined }
  | { readonly kind: 'timeout'; readonly timeoutMs: number }
  | { readonly kind: 'out_of_memory'; readonly memoryMiB: number }
  | { readonly kind: 'out_of_cpu'; readonly cpuMs: number }
  | { readonly kind: 'out_of_pids'; readonly pidsMax: number }
  | { readonly kind: 'output_too_large'; readonly bytesMax: number }
  | { readonly kind: 'headers_too_large'; readonly bytesMax: number }
  | { readonly kind: 'output_invalid'; readonly message: string }
  /** It failed after it had used up what it may of the network. */
  | { readonly kind: 'egress_exceeded'; readonly message: string }
  /** The request itself cannot be sent on, or its body broke off: the caller's affair. */
  | { readonly kind: 'refused'; readonly error: ProtocolError }
  /** The provider stopped the program, or had no place for the call. */
  | { readonly kind: 'stopped'; readonly message: string }

/** Faults of activations: what they threw themselves, or what became of their wish for a signature. */
export const faultCodes = [
  'activation_failed',
  'attest_outside_activation',
  'attest_exhausted',
  'attest_message_too_large',
] as const satisfies readonly ErrorCode[]
export type FaultCode = (typeof faultCodes)[number]

export type KillReason =
  | { readonly kind: 'timeout' }
  | { readonly kind: 'out_of_memory' }
  /** Idle, displaced, replaced or shut down. */
  | { readonly kind: 'stopped'; readonly why: string }

/** Why a process has gone: a program that ends by itself has crashed. */
export type Death =
  | KillReason
  /** It ended after the kernel had refused it more processes or threads. */
  | { readonly kind: 'out_of_pids' }
  | { readonly kind: 'crashed'; readonly message: string }

/** Whether the program is to blame, and not the provider or the caller. */
export function isProgramFault(outcome: CallOutcome): boolean {
  return outcome.kind !== 'answered' && outcome.kind !== 'stopped' && outcome.kind !== 'refused'
}

/** What a caller is told about a call that was not answered. */
export function toCallError(outcome: Exclude<CallOutcome, { kind: 'answered' }>): ProtocolError {
  switch (outcome.kind) {
    case 'crashed':
      if (outcome.code)
        return new ProtocolError(outcome.code, outcome.message, { hint: faultHints[outcome.code] })
      return new ProtocolError('program_crashed', `The program failed: ${outcome.message}`, {
        hint: 'Tell its developer; the message is the program’s own.',
      })
    case 'timeout':
      return new ProtocolError('program_timeout', `The program took more than ${outcome.timeoutMs} ms.`, {
        hint: 'Send it less work, or deploy it with a longer timeoutMs.',
        details: { timeoutMs: outcome.timeoutMs },
      })
    case 'out_of_memory':
      return new ProtocolError(
        'program_out_of_memory',
        `The program needed more than its ${outcome.memoryMiB} MiB.`,
        {
          hint: 'Send it less work, or deploy it with more memoryMiB.',
          details: { memoryMiB: outcome.memoryMiB },
        },
      )
    case 'output_too_large':
      return new ProtocolError(
        'program_output_too_large',
        `The program answered with more than ${outcome.bytesMax} bytes.`,
        {
          hint: 'Let it answer in parts, or deploy it with more responseBytes.',
          details: { bytesMax: outcome.bytesMax },
        },
      )
    case 'out_of_cpu':
      return new ProtocolError(
        'program_out_of_cpu',
        `The call took more than ${outcome.cpuMs} ms of processor time.`,
        {
          hint: 'Send it less work, or deploy it with more cpuMs.',
          details: { cpuMs: outcome.cpuMs },
        },
      )
    case 'out_of_pids':
      return new ProtocolError(
        'program_out_of_pids',
        `The program needed more than its ${outcome.pidsMax} processes and threads.`,
        { hint: 'Let it do its work in fewer.', details: { pidsMax: outcome.pidsMax } },
      )
    case 'headers_too_large':
      return new ProtocolError(
        'program_headers_too_large',
        `The head of the program's answer has more than ${outcome.bytesMax} bytes.`,
        { hint: 'Let it answer with fewer or shorter headers.', details: { bytesMax: outcome.bytesMax } },
      )
    case 'output_invalid':
      return new ProtocolError('program_output_invalid', outcome.message, {
        hint: 'A program’s default export has fetch(request, env, ctx), which gives a Response.',
      })
    case 'egress_exceeded':
      return new ProtocolError('program_egress_exceeded', outcome.message, {
        hint: 'Fetch less in one call, and expect answers with the header Khachapuri-Egress.',
      })
    case 'refused':
      return outcome.error
    case 'stopped':
      return new ProtocolError('sandbox_unavailable', outcome.message, { hint: 'Send it again.' })
  }
}

const faultHints: Readonly<Record<FaultCode, string>> = {
  activation_failed: 'Call it with other params, or tell its developer; the message is the program’s own.',
  attest_outside_activation:
    'Tell its developer: only what is listed under "activations" can attest, while it runs.',
  attest_exhausted: 'Ask it for less at once, or tell its developer.',
  attest_message_too_large: 'Ask it for less at once, or tell its developer.',
}
