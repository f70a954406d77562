import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'

/**
 * The entries of all pages, one page in memory at a time. A page that is not full is the last one.
 *
 * @param readPage - Reads the page after an entry, or the first one.
 * @param options.entriesMax - For entries that are all kept: a provider could go on for ever.
 * @throws ProtocolError `provider_answer_invalid` beyond that
 */
export async function* readPages<T>(
  readPage: (last: T | undefined) => Promise<readonly T[]>,
  { entriesMax = Number.POSITIVE_INFINITY }: { entriesMax?: number } = {},
): AsyncGenerator<T> {
  let last: T | undefined
  let read = 0
  for (;;) {
    const entries = await readPage(last)
    read += entries.length
    if (read > entriesMax) {
      throw new ProtocolError(
        'provider_answer_invalid',
        `The provider shows more than ${entriesMax} entries.`,
        {
          hint: 'Ask its operator; until then believe the chain.',
        },
      )
    }
    yield* entries
    last = entries.at(-1)
    if (entries.length < limits.statementPageEntriesMax) return
  }
}
