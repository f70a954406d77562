import { type FileHandle, open, stat } from 'node:fs/promises'
import { KiB } from '../../protocol/base/bytes.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { type Certificate, parseCertificate } from './certificate.ts'
import type { CertificateSource } from './certificate-source.ts'

export interface CertificateFiles {
  readonly certFile: string
  readonly keyFile: string
}

const pemBytesMax = 256 * KiB

/**
 * A certificate that somebody else keeps in two files. They are looked at every few seconds rather than watched: that also
 * sees links that are replaced above them, and file systems of other machines. A pair that does not fit together is told
 * in the log, and the one before stays.
 *
 * @throws ProtocolError `config_invalid` where there is no good pair to begin with
 */
export async function openCertificateFiles(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  files: CertificateFiles,
): Promise<CertificateSource> {
  let tellChange: (certificate: Certificate) => void = () => undefined
  let shownMark = await markOf(files)
  let certificate = await readFiles(files, clock.nowMs())
  let seenMark = shownMark

  const load = async (): Promise<void> => {
    const mark = await markOf(files)
    try {
      const next = await readFiles(files, clock.nowMs())
      shownMark = mark
      if (next.cert === certificate.cert && next.key === certificate.key) return
      certificate = next
      log.info('certificate_changed', { names: next.names, validTo: new Date(next.validToMs).toISOString() })
      tellChange(next)
    } catch (error) {
      // It is tried again when the files change again.
      shownMark = mark
      if (!isProtocolError(error)) throw error
      log.error('certificate_refused', {
        certFile: files.certFile,
        keyFile: files.keyFile,
        error: error.message,
        hint: error.hint,
        shownUntil: new Date(certificate.validToMs).toISOString(),
      })
    }
  }
  /** Two files are not written at once: they are read when they have been left alone for a while. */
  const look = async (): Promise<void> => {
    const mark = await markOf(files)
    const isSettled = mark === seenMark
    seenMark = mark
    if (mark !== shownMark && isSettled) await load()
  }
  const looking = repeat(
    { clock, onError: (error) => log.error('certificate_unread', { ...files, error: String(error) }) },
    limits.certificateLookIntervalMs,
    look,
  )
  return {
    get certificate() {
      return certificate
    },
    reload: load,
    onChange(listener) {
      tellChange = listener
    },
    [Symbol.asyncDispose]: () => looking[Symbol.asyncDispose](),
  }
}

/** Changes whenever one of the files does; empty while one is away, as in the middle of being replaced. */
async function markOf({ certFile, keyFile }: CertificateFiles): Promise<string> {
  try {
    const facts = await Promise.all([stat(certFile, { bigint: true }), stat(keyFile, { bigint: true })])
    return facts.map(({ ino, size, mtimeNs, mode }) => `${ino}/${size}/${mtimeNs}/${mode}`).join(' ')
  } catch {
    return ''
  }
}

async function readFiles({ certFile, keyFile }: CertificateFiles, nowMs: number): Promise<Certificate> {
  const cert = await readPem('certificate', certFile)
  const key = await readPem('key', keyFile)
  return parseCertificate({ cert, key }, nowMs)
}

async function readPem(what: 'certificate' | 'key', path: string): Promise<string> {
  await using file = await openFile(what, path)
  const { size, mode } = await file.stat()
  if (what === 'key' && (mode & 0o077) !== 0) {
    refuse(`Others on this machine may read the key: ${path} has mode ${(mode & 0o777).toString(8)}.`, {
      hint: `Let only its owner read it: chmod 600 ${path}.`,
    })
  }
  if (size > pemBytesMax)
    refuse(`${path} has ${size} bytes, which no ${what} has.`, { hint: 'Give another file.' })
  return file.readFile('utf8')
}

async function openFile(what: string, path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException
    return refuse(`The file of the ${what}, ${path}, cannot be read: ${code}.`, {
      hint: 'Check its path, and that the gateway runs as a user who may read it.',
      cause,
    })
  }
}

function refuse(message: string, facts: { readonly hint: string; readonly cause?: unknown }): never {
  throw new ProtocolError('config_invalid', message, facts)
}
