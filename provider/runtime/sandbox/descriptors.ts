import { readdirSync, readFileSync } from 'node:fs'

const closeOnExec = 0o2_000_000

/**
 * Descriptors that this process inherited and that every child would inherit in turn: Node marks its own as
 * close-on-exec, but a supervisor's or a shell's come without the mark. Each is a hole in a sandbox.
 */
export function readInheritableDescriptors(): readonly number[] {
  return listDescriptors().filter((fd) => fd > 2 && (readFlags(fd) & closeOnExec) === 0)
}

/**
 * The `stdio` of a child in which nothing inherited is left open: unwanted descriptors become the null device.
 *
 * @param wanted - What the child gets as descriptors 0, 1, 2, …
 */
export function maskDescriptors<T>(
  wanted: readonly T[],
  { inherited, nullFd }: { inherited: readonly number[]; nullFd: number },
): (T | number | 'ignore')[] {
  const stdio: (T | number | 'ignore')[] = [...wanted]
  for (const fd of inherited.filter((fd) => fd >= wanted.length)) {
    while (stdio.length <= fd) stdio.push('ignore')
    stdio[fd] = nullFd
  }
  return stdio
}

function listDescriptors(): number[] {
  try {
    return readdirSync('/proc/self/fdinfo').map(Number)
  } catch {
    return [] // Not Linux: there is no sandbox to keep tight either.
  }
}

function readFlags(fd: number): number {
  try {
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
    return Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? '0', 8)
  } catch {
    return closeOnExec // It was the directory listing's own and has been closed since.
  }
}
