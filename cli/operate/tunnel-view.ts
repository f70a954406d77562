import { utf8 } from '../../protocol/base/bytes.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { ForwardedRequest, Tunnel, TunnelStatus } from '../../tunnel-client/index.ts'
import type { CommandContext } from '../command.ts'
import { formatFacts } from '../terminal.ts'
import { createTunnelMonitor, formatFigures } from './tunnel-monitor.ts'

/** What somebody sees of a tunnel while it runs. */
export interface TunnelView {
  readonly onFailure: (error: ProtocolError) => void
  readonly onState: (status: TunnelStatus) => void
  readonly onRequest: (request: ForwardedRequest) => void
  /**
   * Shows the status line until `signal` aborts.
   *
   * @throws where the gateway refuses for good what it took before: the name has gone to somebody else.
   */
  follow(tunnel: Tunnel, signal: AbortSignal): Promise<void>
}

export interface TunnelViewOptions {
  readonly url: string
  readonly service: URL
  /** No line for each request. */
  readonly isQuiet: boolean
  /** Events, one JSON object a line on standard output, and nothing else there. */
  readonly isJson: boolean
}

export function createTunnelView(
  { url, service, isQuiet, isJson }: TunnelViewOptions,
  { clock, note, status, writeBytes }: CommandContext,
): TunnelView {
  const monitor = createTunnelMonitor()
  let wasConnected = false
  let lastFailure = ''

  const emit = (event: string, facts: object) => {
    if (isJson) void writeBytes(utf8.encode(`${formatFacts({ event, atMs: clock.nowMs(), ...facts })}\n`))
  }

  return {
    onFailure({ code, message, hint }) {
      emit('failed', { code, message })
      // Tries come often; a reason is told once.
      if (message !== lastFailure) note(`${message} ${hint}`)
      lastFailure = message
    },
    onState(now) {
      lastFailure = ''
      const isTrouble = now.state !== 'connected' && now.state !== 'closed'
      const { code, message } = (isTrouble && now.lastError) || {}
      const { state: event, ...figures } = monitor.figures(now)
      emit(event, { url, ...figures, ...(code !== undefined && { code, message }) })
      if (now.state === 'reconnecting') note('The gateway is away; connecting again …')
      if (now.state === 'connected' && wasConnected) note('Connected again.')
      wasConnected ||= now.state === 'connected'
    },
    onRequest(request) {
      monitor.note(request)
      const { error, method, path, status: answered, durationMs } = request
      const facts = { method, path, status: answered ?? null, code: error?.code ?? null }
      emit('request', { ...facts, durationMs: Math.round(durationMs * 10) / 10 })
      if (!isQuiet && !isJson) note(describeRequest(request, service))
    },
    async follow(tunnel, signal) {
      const over = new AbortController()
      const stopped = AbortSignal.any([signal, over.signal])
      const closed = tunnel.closed.finally(() => over.abort())
      closed.catch(() => undefined)
      while (!stopped.aborted) {
        status(formatFigures(monitor.figures(tunnel.status()), clock))
        await clock.sleep(limits.tunnelStatusIntervalMs, stopped).catch(() => undefined)
      }
      status('')
      if (!signal.aborted) await closed
    },
  }
}

function describeRequest(
  { method, path, status, error, durationMs }: ForwardedRequest,
  service: URL,
): string {
  const line = `${method} ${path}  ${status ?? 'broken off'}  ${Math.round(durationMs)} ms`
  if (!error) return line
  if (error.code !== 'local_service_down') return `${line}  ${error.code}: ${error.message}`
  const { cause } = error
  const why = cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : ''
  return `${line}  ${service.origin} does not answer${why && ` (${why})`}`
}
