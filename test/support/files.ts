import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Every file under a directory, with what tells whether it was written to. */
export async function readFileMarks(dir: string): Promise<ReadonlyMap<string, string>> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  const marks = await Promise.all(
    entries
      .filter((entry) => !entry.isDirectory())
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name)
        const found = await stat(path, { bigint: true }).catch(() => undefined)
        return [path.slice(dir.length + 1), `${found?.size} ${found?.mtimeNs}`] as const
      }),
  )
  return new Map(marks)
}

/** The files under a directory that an act made, changed or removed, by their paths in it. */
export async function filesWrittenBy(dir: string, act: () => Promise<unknown>): Promise<string[]> {
  const before = await readFileMarks(dir)
  await act()
  const after = await readFileMarks(dir)
  const paths = new Set([...before.keys(), ...after.keys()])
  return [...paths].filter((path) => before.get(path) !== after.get(path)).sort()
}
