import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import type { TlsIdentity } from '../../protocol/http/secure-server.ts'
import { limits } from '../../protocol/limits.ts'
import { coversHost } from './certificate.ts'
import type { CertificateSource } from './certificate-source.ts'
import { readTicketKeys } from './ticket-keys.ts'

/** All that a listener needs to speak TLS, kept fresh. */
export interface GatewayTls extends AsyncDisposable {
  readonly identity: TlsIdentity
  /** Looks for a newer certificate at once. */
  reload(): Promise<void>
  /** @param listener - Called with every later identity; one listener at a time. */
  onChange(listener: (identity: TlsIdentity) => void): void
}

export interface TlsOptions {
  /** For ticket keys; shared by the processes of one gateway. */
  readonly dir: string
  /** The gateway's host, without a port. */
  readonly domain: string
}

/** Joins a certificate with the keys of session tickets. It owns the source from here on. */
export async function openTls(
  { clock, log, source }: { readonly clock: Clock; readonly log: Log; readonly source: CertificateSource },
  { dir, domain }: TlsOptions,
): Promise<GatewayTls> {
  await using opening = new AsyncDisposableStack()
  opening.use(source)
  let ticketKeys = await readTicketKeys({ clock }, dir)
  let tellChange: (identity: TlsIdentity) => void = () => undefined
  const identity = (): TlsIdentity => {
    const { cert, key } = source.certificate
    return { cert, key, ticketKeys }
  }
  const warnOfGaps = () => {
    const missing = [domain, `any.${domain}`].filter((host) => !coversHost(source.certificate, host))
    if (missing.length > 0) log.warn('certificate_narrow', { missing, names: source.certificate.names })
  }
  warnOfGaps()
  source.onChange(() => {
    warnOfGaps()
    tellChange(identity())
  })
  opening.use(
    repeat(
      { clock, onError: (error) => log.warn('ticket_keys_kept', { error: String(error) }) },
      limits.tlsTicketKeysLookIntervalMs,
      async () => {
        const next = await readTicketKeys({ clock }, dir)
        if (next.equals(ticketKeys)) return
        ticketKeys = next
        tellChange(identity())
      },
    ),
  )
  const parts = opening.move()
  return {
    get identity() {
      return identity()
    },
    reload: () => source.reload(),
    onChange(listener) {
      tellChange = listener
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
