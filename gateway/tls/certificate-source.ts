import type { Certificate } from './certificate.ts'

/** Where the gateway's certificate comes from, now and whenever it changes: files, or a certificate authority. */
export interface CertificateSource extends AsyncDisposable {
  /** What is shown now. */
  readonly certificate: Certificate
  /** Looks for a newer one at once. What is wrong with it is in the log, and the present one stays. */
  reload(): Promise<void>
  /** @param listener - Called with every certificate after the present one; one listener at a time. */
  onChange(listener: (certificate: Certificate) => void): void
}
