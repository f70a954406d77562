import { mkdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { parseCertificate } from './certificate.ts'
import { createDevAuthority, type PemPair, signDevCertificate } from './dev-authority.ts'
import { writeFileWhole } from './write-file-whole.ts'

export interface DevCertificateOptions {
  /** Made if it is missing. */
  readonly dir: string
  /** The gateway's host, without a port: `localhost` or something below it. */
  readonly domain: string
  /** Names of providers, each with its deployments' hosts below it. */
  readonly providers: readonly string[]
}

export interface DevCertificate {
  /** What callers have to trust. */
  readonly authorityFile: string
  readonly certFile: string
  readonly keyFile: string
  readonly hosts: readonly string[]
  /** Wall time. */
  readonly validToMs: number
  /** Whether the authority is new, so that whoever trusted another has to trust this one. */
  readonly isAuthorityNew: boolean
}

/**
 * Makes a server certificate for a gateway on this machine, signed by an authority of its own, which is made once and kept.
 * Nothing is installed anywhere: who is to trust it is for the user to say.
 *
 * @throws ProtocolError `config_invalid` for an authority in `dir` that is none
 */
export async function makeDevCertificate(
  { clock }: { readonly clock: Clock },
  { dir, domain, providers }: DevCertificateOptions,
): Promise<DevCertificate> {
  const paths = {
    authorityFile: join(dir, 'ca.pem'),
    authorityKeyFile: join(dir, 'ca-key.pem'),
    certFile: join(dir, 'cert.pem'),
    keyFile: join(dir, 'key.pem'),
  }
  const nowMs = clock.nowMs()
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const known = await readAuthority(paths, nowMs)
  const authority = known ?? (await createDevAuthority(['localhost'], nowMs))
  if (!known) {
    await writeFileWhole(paths.authorityKeyFile, authority.key, { mode: 0o600 })
    await writeFileWhole(paths.authorityFile, authority.cert, { mode: 0o644 })
  }
  const hosts = hostsOf(domain, providers)
  const pair = await signDevCertificate(authority, hosts, nowMs)
  // The key first: a gateway that looks in between sees a pair that does not fit, and keeps the one before.
  await writeFileWhole(paths.keyFile, pair.key, { mode: 0o600 })
  await writeFileWhole(paths.certFile, pair.cert, { mode: 0o644 })
  const { authorityFile, certFile, keyFile } = paths
  const { validToMs } = parseCertificate(pair, nowMs)
  return { authorityFile, certFile, keyFile, hosts, validToMs, isAuthorityNew: !known }
}

/**
 * A wildcard stands for one label. Most clients take none directly below a name without dots, so below `localhost` each
 * provider stands by its own name, too.
 */
function hostsOf(domain: string, providers: readonly string[]): string[] {
  const named = providers.flatMap((name) => [`${name}.${domain}`, `*.${name}.${domain}`])
  return [...new Set([domain, `*.${domain}`, ...named, '127.0.0.1', '::1'])]
}

async function readAuthority(
  { authorityFile, authorityKeyFile }: { readonly authorityFile: string; readonly authorityKeyFile: string },
  nowMs: number,
): Promise<PemPair | undefined> {
  try {
    const [cert, key] = await Promise.all([
      readFile(authorityFile, 'utf8'),
      readFile(authorityKeyFile, 'utf8'),
    ])
    const { mode } = await stat(authorityKeyFile)
    if ((mode & 0o077) !== 0) {
      throw new ProtocolError('config_invalid', `Others on this machine may read ${authorityKeyFile}.`, {
        hint: 'Remove the directory, and take its ca.pem out of whatever trusts it.',
      })
    }
    return parseCertificate({ cert, key }, nowMs)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
