import { limits } from '../../protocol/limits.ts'

/**
 * The entries of all pages, one page in memory at a time. A page that is not full is the last one.
 *
 * @param readPage - Reads the page after an entry, or the first one.
 */
export async function* readPages<T>(
  readPage: (last: T | undefined) => Promise<readonly T[]>,
): AsyncGenerator<T> {
  let last: T | undefined
  for (;;) {
    const entries = await readPage(last)
    yield* entries
    last = entries.at(-1)
    if (entries.length < limits.statementPageEntriesMax) return
  }
}
