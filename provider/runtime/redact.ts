import { limits } from '../../protocol/limits.ts'

/** Replaces values of a deployment's env, wherever they appear, by their names. */
export type Redact = (line: string) => string

/** A shorter value is no secret, and its letters are everywhere. */
const charsMin = 6

/** @param env - Values of several lines are known by each of their lines. */
export function createRedact(env: Readonly<Record<string, string>>): Redact {
  const parts = Object.entries(env)
    .flatMap(([name, value]) => [value, ...value.split(/\r?\n/)].map((part) => [part.trim(), name] as const))
    .filter(([part]) => part.length >= charsMin)
    // A longer one may hold a shorter one.
    .sort(([a], [b]) => b.length - a.length)
  // Whoever prints decides how often this is done, in the thread of the calls.
  if (parts.length > limits.redactedValuesMax)
    return () => '[not shown: too many values of the env to look for]'
  return (line) => {
    const whole = parts.reduce((text, [part, name]) => text.replaceAll(part, `[${name}]`), line)
    return parts.reduce((text, [part, name]) => hideCut(text, part, name), whole)
  }
}

/**
 * Lines are cut to a length, and who calls may decide where: the beginning of a value is told by its name, too, where
 * nothing follows, or what is put after a cut.
 */
function hideCut(text: string, part: string, name: string): string {
  const head = part.slice(0, charsMin)
  let shown = ''
  let from = 0
  for (let at = text.indexOf(head); at >= 0; at = text.indexOf(head, at)) {
    let end = at + charsMin
    while (end < text.length && text[end] === part[end - at]) end += 1
    if (end === text.length || text[end] === '"' || text.startsWith(' (', end)) {
      shown += `${text.slice(from, at)}[${name}]`
      from = end
    }
    at = end
  }
  return shown + text.slice(from)
}
