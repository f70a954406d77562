import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

export type Outcome = 'killed' | 'timed out' | 'survived'

/**
 * What became of each mutant, kept between runs. A mutant that a test noticed once counts as noticed as long as the
 * contracts are the same: so whoever writes the missing tests waits for survivors only. `--again` forgets all.
 */
export interface Results {
  readonly outcomes: ReadonlyMap<number, Outcome>
  set(mutantId: number, outcome: Outcome): Promise<void>
}

/** @param digest - Of what the numbers of mutants stand for; results of another one are left behind. */
export async function openResults(file: string, digest: string): Promise<Results> {
  await mkdir(dirname(file), { recursive: true })
  const text = await readFile(file, 'utf8').catch(() => '{}')
  const kept = JSON.parse(text) as { digest?: string; outcomes?: [number, Outcome][] }
  const outcomes = new Map(kept.digest === digest ? kept.outcomes : [])
  let writing = Promise.resolve()
  return {
    outcomes,
    set(mutantId, outcome) {
      outcomes.set(mutantId, outcome)
      writing = writing.then(async () => {
        // Whole or not at all, whenever the run is interrupted.
        await writeFile(`${file}.new`, JSON.stringify({ digest, outcomes: [...outcomes] }))
        await rename(`${file}.new`, file)
      })
      return writing
    },
  }
}
