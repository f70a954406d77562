import { type SettingLeaf, settingLeaves } from './settings.ts'

/** Settings from one place, not looked at yet. */
export interface SettingsLayer {
  /** Nested as in the file. */
  readonly values: Readonly<Record<string, unknown>>
  /** How this place calls a setting: `gateway.json, limits.client`, `KHACHAPURI_GATEWAY_PORT`, `--port`. */
  readonly nameOf: (path: readonly PropertyKey[]) => string
}

export const environmentPrefix = 'KHACHAPURI_GATEWAY_'

/** `chain.chainId` → `KHACHAPURI_GATEWAY_CHAIN_CHAIN_ID`. */
export function environmentName(path: readonly PropertyKey[]): string {
  const words = path.map((part) => String(part).replace(/[A-Z]/g, (letter) => `_${letter}`))
  return environmentPrefix + words.join('_').toUpperCase()
}

const leafByName = new Map(settingLeaves.map((leaf) => [environmentName(leaf.path), leaf]))

/**
 * The variables `KHACHAPURI_GATEWAY_…`. Lists are separated by commas; an empty variable counts as none.
 *
 * @returns the settings, and the names of variables that are none.
 */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): {
  readonly layer: SettingsLayer
  readonly unknown: readonly string[]
} {
  const values = {}
  const unknown: string[] = []
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith(environmentPrefix) || text === undefined || text === '') continue
    const leaf = leafByName.get(name)
    if (leaf) setAt(values, leaf.path, fromText(leaf, text))
    else unknown.push(name)
  }
  // A word of a list is a place below its setting.
  const nameOf = (path: readonly PropertyKey[]) =>
    environmentName(path.filter((part) => typeof part === 'string'))
  return { layer: { values, nameOf }, unknown }
}

/** What is no number stays text, so that the schema says what it expected. */
function fromText({ kind }: SettingLeaf, text: string): unknown {
  if (kind === 'number') return /^-?\d+(?:\.\d+)?$/.test(text) ? Number(text) : text
  if (kind === 'boolean') return text === 'true' ? true : text === 'false' ? false : text
  if (kind === 'list') {
    return text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
  }
  return text
}

type Tree = Record<string, unknown>

/** Puts a value where `path` says. */
export function setAt(tree: object, path: readonly string[], value: unknown): void {
  let at = tree as Tree
  for (const part of path.slice(0, -1)) {
    if (!isTree(at[part])) at[part] = {}
    at = at[part] as Tree
  }
  at[path.at(-1)!] = value
}

/** What is there, or undefined. */
export function getAt(tree: unknown, path: readonly PropertyKey[]): unknown {
  let at = tree
  for (const part of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return undefined
    at = (at as Record<PropertyKey, unknown>)[part]
  }
  return at
}

/** Later layers win, setting by setting; a list is one setting. */
export function mergeLayers(layers: readonly SettingsLayer[]): Tree {
  return layers.reduce<Tree>((merged, { values }) => mergeTrees(merged, values), {})
}

function mergeTrees(below: Tree, above: Readonly<Tree>): Tree {
  // Without a prototype a key such as `__proto__` is like any other, and refused.
  const merged: Tree = Object.assign(Object.create(null), below)
  for (const [name, value] of Object.entries(above)) {
    const lower = merged[name]
    merged[name] = isTree(lower) && isTree(value) ? mergeTrees(lower, value) : value
  }
  return merged
}

const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
