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
  return (line) => parts.reduce((text, [part, name]) => text.replaceAll(part, `[${name}]`), line)
}
