/** Things that come and go by thousands a second, in no order. */
export interface Bag<T extends BagItem> {
  readonly size: number
  /** Of an item that is in no bag. */
  add(item: T): void
  has(item: T): boolean
  /** @returns whether it was there. */
  delete(item: T): boolean
  /** What is in it now, for a loop that may add and delete. */
  items(): readonly T[]
}

/** Keeps its own place, so that it is found without a search. */
export interface BagItem {
  /** The bag's to change; `inNoBag` to begin with. */
  bagIndex: number
}

export const inNoBag = -1

/**
 * Why not a `Set`: one that fills and empties makes itself a new table each time, and V8's tables that were left point to
 * the next one, and to all that was in them. Once one of them is old, whatever is in a later one outlives all small
 * collections; calls in flight did that, with everything that hung on them, and cost a fifth of their processor time.
 */
export const createBag = <T extends BagItem>(): Bag<T> => new ArrayBag<T>()

/** A class, because a gateway has one for every provider, most of which nobody calls. */
class ArrayBag<T extends BagItem> implements Bag<T> {
  readonly #items: T[] = []

  get size(): number {
    return this.#items.length
  }

  add(item: T): void {
    item.bagIndex = this.#items.length
    this.#items.push(item)
  }

  has(item: T): boolean {
    return this.#items[item.bagIndex] === item
  }

  delete(item: T): boolean {
    const items = this.#items
    if (items[item.bagIndex] !== item) return false
    const last = items.pop() as T
    if (last !== item) {
      items[item.bagIndex] = last
      last.bagIndex = item.bagIndex
    }
    item.bagIndex = inNoBag
    return true
  }

  items(): readonly T[] {
    return [...this.#items]
  }
}
