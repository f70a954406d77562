import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Mutant } from './mutants.ts'
import type { Outcome } from './results.ts'

/** A mutant that changes nothing that anybody could see, and why. Not by its line's number: those move. */
export interface Equivalent {
  readonly file: string
  /** The line as it stands, without its indent. */
  readonly context: string
  readonly before: string
  readonly after: string
  /** Which one of those in lines that read the same, from 1. */
  readonly nth: number
  readonly reason: string
}

export interface Explanation {
  /** How many mutants the list covers. */
  readonly explained: number
  /** What no test noticed and the list does not explain. */
  readonly survivors: readonly Mutant[]
  /** Entries that explain nothing (any more), as sentences. */
  readonly problems: readonly string[]
}

export async function readEquivalents(): Promise<Equivalent[]> {
  return JSON.parse(await readFile(join(import.meta.dirname, 'equivalent.json'), 'utf8'))
}

/** @param outcomes - By the mutant's number; mutants that were not run have none. */
export function explain(
  mutants: readonly Mutant[],
  outcomes: ReadonlyMap<number, Outcome>,
  equivalents: readonly Equivalent[],
): Explanation {
  const listed = new Set(equivalents.map(keyOf))
  const known = new Map(mutants.map((mutant) => [keyOf(mutant), mutant]))
  const problems = equivalents.flatMap((entry) => {
    const mutant = known.get(keyOf(entry))
    const outcome = mutant && outcomes.get(mutant.id)
    if (!mutant) return [`equivalent.json names a mutant that is none: ${keyOf(entry)}`]
    if (outcome === 'killed') return [`equivalent.json names a mutant that is noticed: ${keyOf(entry)}`]
    return []
  })
  return {
    explained: mutants.filter((mutant) => listed.has(keyOf(mutant))).length,
    survivors: mutants.filter(
      (mutant) => outcomes.get(mutant.id) === 'survived' && !listed.has(keyOf(mutant)),
    ),
    problems,
  }
}

function keyOf({ file, context, before, after, nth }: Omit<Equivalent, 'reason'>): string {
  return JSON.stringify([file, context, before, after, nth])
}
