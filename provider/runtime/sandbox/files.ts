import { readFileSync, writeFileSync } from 'node:fs'

/** Reads a file of the kernel; undefined where there is none or it may not be read. */
export function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** Writes a setting that some kernels do not have. @returns whether it took. */
export function tryWrite(path: string, value: string | number): boolean {
  try {
    writeFileSync(path, String(value))
    return true
  } catch {
    return false
  }
}

/** A number that follows a key, as in `oom_kill 1`. */
export function readCounter(text: string | undefined, key: string): number | undefined {
  const found = new RegExp(`^${key}\\s+(\\d+)`, 'm').exec(text ?? '')?.[1]
  return found === undefined ? undefined : Number(found)
}
