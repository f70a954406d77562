import { lstatSync, readlinkSync } from 'node:fs'
import type { NativeRoot } from './binary.ts'

/**
 * What of the host is in a native program's root beside `/app`, as arguments of bubblewrap. With `usr` that is what the
 * distribution installed, read-only; `/usr/local` is the operator's own, and stays out of sight.
 */
export function formatRoot(root: NativeRoot): string[] {
  if (root === 'none') return []
  return [
    ...['--ro-bind', '/usr', '/usr'],
    ...(isThere('/usr/local')
      ? ['--size', '4096', '--tmpfs', '/usr/local', '--remount-ro', '/usr/local']
      : []),
    ...['bin', 'sbin', 'lib', 'lib32', 'lib64'].flatMap(formatTop),
    ...['/etc/ld.so.cache', '/etc/alternatives', '/etc/ssl/certs'].flatMap((path) => [
      '--ro-bind-try',
      path,
      path,
    ]),
  ]
}

/** `/bin` and its like are links into `/usr` on most machines, folders on others. */
function formatTop(name: string): string[] {
  const path = `/${name}`
  if (!isThere(path)) return []
  return lstatSync(path).isSymbolicLink()
    ? ['--symlink', readlinkSync(path), path]
    : ['--ro-bind', path, path]
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
