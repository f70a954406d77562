import { randomInt } from 'node:crypto'

/** A value to look for, and the name that is told instead. */
export interface NamedValue {
  readonly value: string
  readonly name: string
}

/** A place in a text, from `start` to before `end`, and whose value is there. */
export interface Finding {
  readonly start: number
  readonly end: number
  readonly name: string
}

export interface FinderOptions {
  /** Beginnings of values are found, too, from this length on, where the text is cut. */
  readonly beginningCharsMin: number
  /** Whether a text may have been cut before this index. */
  readonly isCut: (text: string, index: number) => boolean
}

/** Finds all values in a text. What overlaps is one place, with the name of the value that begins first. */
export type FindValues = (text: string) => readonly Finding[]

/**
 * Aho and Corasick's automaton (CACM 18(6), 1975): one step for each character, whatever the values and the text are, and both
 * are chosen by strangers. It grows with the values, by some 25 bytes for each of their characters.
 */
export function createValueFinder(
  values: readonly NamedValue[],
  { beginningCharsMin, isCut }: FinderOptions,
): FindValues {
  const trie = createTrie(values)
  const { depth, owner, valueLength, valueOwner, step } = trie

  return (text) => {
    const found: Place[] = []
    let node = root
    for (let end = 1; end <= text.length; end += 1) {
      node = step(node, text.charCodeAt(end - 1))
      if (node === root) continue
      const length = valueLength[node] as number
      if (length > 0) merge(found, end - length, end, valueOwner[node] as number)
      const begun = depth[node] as number
      if (begun > length && begun >= beginningCharsMin && isCut(text, end))
        merge(found, end - begun, end, owner[node] as number)
    }
    return found.map(({ start, end, owner: index }) => ({ start, end, name: values[index]?.name ?? '' }))
  }
}

interface Place {
  start: number
  end: number
  owner: number
  /** Where the value ends that gives the name. */
  namedEnd: number
}

/**
 * Adds a place. Of those that overlap, the one that begins first gives the name, and of those the longest.
 *
 * @param found - Places that do not overlap, in order; none ends after this one.
 */
function merge(found: Place[], start: number, end: number, owner: number): void {
  let last = found.at(-1)
  if (!last || last.end <= start) {
    found.push({ start, end, owner, namedEnd: end })
    return
  }
  // What began later lies within the new one.
  for (let before = found.at(-2); before && before.end > start; before = found.at(-2)) {
    found.pop()
    last = before
  }
  last.end = end
  if (last.start < start || (last.start === start && last.namedEnd >= end)) return
  last.start = start
  last.owner = owner
  last.namedEnd = end
}

const root = 0

/** All beginnings of all values. Flat arrays, because objects would take ten times the room. */
function createTrie(values: readonly NamedValue[]) {
  const nodesMax = values.reduce((sum, { value }) => sum + value.length, 1)
  const parent = new Int32Array(nodesMax)
  const char = new Uint16Array(nodesMax)
  const depth = new Int32Array(nodesMax)
  /** The longest proper end of this beginning that is a beginning, too. */
  const fallback = new Int32Array(nodesMax)
  /** The first value that begins so. */
  const owner = new Int32Array(nodesMax)
  /** The longest value that this beginning ends with, and whose that is; 0 where there is none. */
  const valueLength = new Int32Array(nodesMax)
  const valueOwner = new Int32Array(nodesMax)
  let nodes = 1

  const slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * nodesMax)))
  const mask = slots.length - 1
  // Nobody who writes the values can foresee which of them share a slot.
  const seed = randomInt(2 ** 31)

  /** The slot of a node's child, or the free one where that would be. */
  function findSlot(of: number, code: number): number {
    let slot = Math.imul(Math.imul(of ^ seed, 0x9e3779b1) ^ code, 0x85ebca6b)
    slot = (slot ^ (slot >>> 15)) & mask
    for (;;) {
      const child = slots[slot] as number
      if (child === 0 || (parent[child] === of && char[child] === code)) return slot
      slot = (slot + 1) & mask
    }
  }

  const childOf = (of: number, code: number) => slots[findSlot(of, code)] as number
  /** By the last byte of a character, whether a value may begin with it: most of a text goes no further. */
  const mayBegin = new Uint8Array(256)

  function step(from: number, code: number): number {
    if (from === root && mayBegin[code & 0xff] === 0) return root
    for (let node = from; ; node = fallback[node] as number) {
      const child = childOf(node, code)
      if (child !== 0 || node === root) return child
    }
  }

  for (const [index, { value }] of values.entries()) {
    let node = root
    if (value !== '') mayBegin[value.charCodeAt(0) & 0xff] = 1
    for (let at = 0; at < value.length; at += 1) {
      const slot = findSlot(node, value.charCodeAt(at))
      if (slots[slot] === 0) {
        parent[nodes] = node
        char[nodes] = value.charCodeAt(at)
        depth[nodes] = at + 1
        owner[nodes] = index
        slots[slot] = nodes
        nodes += 1
      }
      node = slots[slot] as number
    }
    if (node !== root && valueLength[node] === 0) {
      valueLength[node] = value.length
      valueOwner[node] = index
    }
  }

  // Shorter beginnings first: each is built on those.
  for (const node of byDepth(depth.subarray(0, nodes))) {
    const up = parent[node] as number
    const back = up === root ? root : step(fallback[up] as number, char[node] as number)
    fallback[node] = back
    if (valueLength[node] !== 0) continue
    valueLength[node] = valueLength[back] as number
    valueOwner[node] = valueOwner[back] as number
  }
  return { depth, owner, valueLength, valueOwner, step }
}

/** Nodes but the root, by their depth. */
function byDepth(depth: Int32Array): Int32Array {
  const nodes = Int32Array.from({ length: depth.length - 1 }, (_, index) => index + 1)
  return nodes.sort((a, b) => (depth[a] as number) - (depth[b] as number))
}
