import { createDevAuthority, type PemPair, signDevCertificate } from '../../gateway/tls/dev-authority.ts'

/** An authority that a test's clients trust, and certificates of it. */
export interface TestAuthority {
  /** PEM. */
  readonly ca: string
  sign(...hosts: readonly string[]): Promise<PemPair>
}

/** @param nowMs - When they are made; they begin a day before. */
export async function createTestAuthority(nowMs = Date.now()): Promise<TestAuthority> {
  const authority = await createDevAuthority(['localhost'], nowMs)
  return { ca: authority.cert, sign: (...hosts) => signDevCertificate(authority, hosts, nowMs) }
}
