import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'

/** Names that Windows gives to devices, with any extension. */
const deviceName = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\.|$)/i
const controlCharacter = /[\u0000-\u001f\u007f-\u009f]/

/**
 * Why a path in a program's zip may not be used, or undefined where it may: relative, made of plain names, and the same
 * file on every system that could unpack it.
 *
 * @param path - Names with `/` between them, without one at the end.
 */
export function findPathFault(path: string): string | undefined {
  if (path === '') return 'it is empty'
  if (Buffer.byteLength(path) > limits.zipPathBytesMax)
    return `it has more than ${limits.zipPathBytesMax} bytes`
  if (controlCharacter.test(path)) return 'it has a control character'
  if (path.includes('\\')) return 'it has a backslash'
  if (path.startsWith('/') || /^[a-z]:/i.test(path)) return 'it is absolute'
  if (!path.isWellFormed() || path.includes('\ufffd')) return 'it is not valid Unicode'
  if (path.normalize('NFC') !== path) return 'it is not in Unicode form NFC'
  const names = path.split('/')
  if (names.length > limits.zipPathDepthMax) return `it nests deeper than ${limits.zipPathDepthMax}`
  for (const name of names) {
    const fault = findNameFault(name)
    if (fault) return fault
  }
  return undefined
}

function findNameFault(name: string): string | undefined {
  if (name === '') return 'it has an empty name'
  if (name === '.' || name === '..') return 'it leaves its directory'
  if (Buffer.byteLength(name) > limits.zipNameBytesMax)
    return `a name has more than ${limits.zipNameBytesMax} bytes`
  if (deviceName.test(name)) return 'it names a device'
  if (/[. ]$/.test(name)) return 'a name ends with a dot or a space'
  return undefined
}

/**
 * Keeps two paths of one archive from meeting in one place: the same path twice, paths that differ only in case, and a
 * file where another path needs a directory.
 */
export function createPathSet(): PathSet {
  const places = new Map<string, { readonly path: string; readonly kind: 'file' | 'directory' }>()
  const claim = (path: string, kind: 'file' | 'directory'): string | undefined => {
    const key = foldCase(path)
    const earlier = places.get(key)
    if (!earlier) {
      places.set(key, { path, kind })
      return undefined
    }
    if (earlier.path !== path) return `it differs from ${escapePath(earlier.path)} only in case`
    if (earlier.kind !== kind) return 'it is a file and a directory'
    return undefined
  }
  return {
    add(path, kind) {
      const fault = findPathFault(path)
      if (fault) return fault
      for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
        const parentFault = claim(path.slice(0, slash), 'directory')
        if (parentFault) return parentFault
      }
      const isTwice = kind === 'file' && places.get(foldCase(path))?.path === path
      return claim(path, kind) ?? (isTwice ? 'it is there twice' : undefined)
    },
  }
}

export interface PathSet {
  /** @returns why the path may not be added, or undefined where it now is. */
  add(path: string, kind: 'file' | 'directory'): string | undefined
}

/** The refusal of an archive or a directory for one of its paths. */
export function pathRefused(path: string, why: string, cause?: unknown): ProtocolError {
  return new ProtocolError(
    'program_invalid',
    `The path ${escapePath(path)} cannot be in a program: ${why}.`,
    {
      hint: 'Rename or remove it, and build again.',
      details: { path: escapePath(path), reason: why },
      cause,
    },
  )
}

/** A path as a stranger may read it: quoted, printable, bounded. */
export function escapePath(path: string): string {
  const escaped = JSON.stringify(path.slice(0, 120)).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return path.length > 120 ? `${escaped}…` : escaped
}

/** Upper case first, so that `ß` meets `ss` as it does on disks that fold case. */
function foldCase(path: string): string {
  return path.toUpperCase().toLowerCase().normalize('NFC')
}
