/** Thrown where the program itself is wrong. Nobody catches it: the process logs and restarts. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

/** Holds a statement that can only be false through a bug of ours; never used on input from outside. */
export function assert(condition: unknown, statement: string): asserts condition {
  if (!condition) throw new InvariantError(`Broken invariant: ${statement}`)
}

/** Marks a branch that the types rule out. */
export function unreachable(value: never): never {
  throw new InvariantError(`Unreachable: ${String(value)}`)
}
