import { expect, test } from 'vitest'
import { limits } from '../../protocol/limits.ts'
import { readPages } from './pages.ts'

const pageMax = limits.statementPageEntriesMax
const pageAfter = async (last = 0) => Array.from({ length: pageMax }, (_, i) => last + i + 1)

async function readAll(pages: AsyncGenerator<number>): Promise<number[]> {
  const all: number[] = []
  for await (const entry of pages) all.push(entry)
  return all
}

test('pages are read up to the first that is not full', async () => {
  const total = 2 * pageMax + 7
  const pages = readPages<number>(async (last) => (await pageAfter(last)).filter((entry) => entry <= total))
  expect(await readAll(pages)).toEqual(Array.from({ length: total }, (_, i) => i + 1))
})

test('a provider whose pages never end is not followed for ever where they are all kept', async () => {
  const entriesMax = 4 * pageMax
  await expect(readAll(readPages<number>(pageAfter, { entriesMax }))).rejects.toMatchObject({
    code: 'provider_answer_invalid',
  })
})
