import { lstatSync, readlinkSync } from 'node:fs'
import type { NativeMount } from '../sandbox/native-mount.ts'
import type { NativeRoot } from './binary.ts'

/**
 * What of the host is in a native program's root beside `/app`. With `usr` that is what the distribution installed;
 * `/usr/local` is the operator's own, and stays out of sight.
 */
export function listMounts(root: NativeRoot): NativeMount[] {
  if (root === 'none') return []
  return [
    bind('/usr'),
    ...(isThere('/usr/local') ? [{ kind: 'empty' as const, at: '/usr/local' }] : []),
    ...['bin', 'sbin', 'lib', 'lib32', 'lib64'].flatMap(listTop),
    ...['/etc/ld.so.cache', '/etc/alternatives', '/etc/ssl/certs'].filter(isThere).map(bind),
  ]
}

/** `/bin` and its like are links into `/usr` on most machines, folders on others. */
function listTop(name: string): NativeMount[] {
  const path = `/${name}`
  if (!isThere(path)) return []
  const isLink = lstatSync(path).isSymbolicLink()
  return [isLink ? { kind: 'link', target: readlinkSync(path), at: path } : bind(path)]
}

const bind = (path: string): NativeMount => ({ kind: 'bind', from: path, to: path })

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
