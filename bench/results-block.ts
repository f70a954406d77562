import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const path = join(import.meta.dirname, 'README.md')
const begin = '<!-- results: written by "npm run bench -- --write" -->'
const end = '<!-- end of results -->'

/** Puts the results between the two markers of `bench/README.md`. @throws Error where a marker is missing */
export async function writeResults(markdown: string): Promise<void> {
  const text = await readFile(path, 'utf8')
  const from = text.indexOf(begin)
  const to = text.indexOf(end)
  if (from < 0 || to < from) throw new Error(`${path} lacks the markers of the results.`)
  await writeFile(path, `${text.slice(0, from + begin.length)}\n\n${markdown}\n\n${text.slice(to)}`)
}
