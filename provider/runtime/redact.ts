import { createValueFinder, type NamedValue } from './value-finder.ts'

/** Replaces values of a deployment's env, wherever they appear, by their names. */
export type Redact = (line: string) => string

/** A shorter value is no secret, and its letters are everywhere. */
const charsMin = 6

/**
 * Whoever prints decides how often this is done, in the thread of the calls; it takes time with the length of the line, and not
 * with the values.
 *
 * @param env - Values of several lines are known by each of their lines.
 */
export function createRedact(env: Readonly<Record<string, string>>): Redact {
  const values = Object.entries(env)
    .flatMap(([name, value]) =>
      [value, ...value.split(/\r?\n/)].flatMap((part) => spellings(part.trim(), name)),
    )
    .filter(({ value }) => value.length >= charsMin)
  if (values.length === 0) return (line) => line
  const findValues = createValueFinder(values, { beginningCharsMin: charsMin, isCut })
  return (line) => {
    const found = findValues(line)
    if (found.length === 0) return line
    let shown = ''
    let from = 0
    for (const { start, end, name } of found) {
      shown += `${line.slice(from, start)}[${name}]`
      from = end
    }
    return shown + line.slice(from)
  }
}

/** As it is, and as it stands in a message on one line: see `clean-message.ts`. */
function spellings(value: string, name: string): NamedValue[] {
  const cleaned = value.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
  return cleaned === value
    ? [{ value, name }]
    : [value, cleaned].map((spelling) => ({ value: spelling, name }))
}

/**
 * Lines are cut to a length, and who calls may decide where: the beginning of a value is told by its name, too, where
 * nothing follows, or what is put after a cut.
 */
const isCut = (text: string, index: number) =>
  index === text.length || text[index] === '"' || text.startsWith(' (', index)
