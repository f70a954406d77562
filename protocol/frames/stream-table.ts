/** Streams by their ids. */
export interface StreamTable<T extends { readonly id: number }> {
  readonly size: number
  get(id: number): T | undefined
  /** @param stream - With an id that is not in it. */
  add(stream: T): void
  /** @returns whether it was there. */
  delete(id: number): boolean
  values(): T[]
}

/**
 * Open addressing with linear probing (Knuth, The Art of Computer Programming 3, 6.4, algorithms L and R): ids count up, so
 * nearly every one lies in its own slot. Not a `Map`, for the reason that `createBag` tells of. It never shrinks; who
 * bounds the streams bounds it.
 */
export const createStreamTable = <T extends { readonly id: number }>(): StreamTable<T> => new SlotTable<T>()

/** A class, because every tunnel has one, and most of those do nothing. */
class SlotTable<T extends { readonly id: number }> implements StreamTable<T> {
  #slots: (T | undefined)[] = noSlots
  size = 0

  get(id: number): T | undefined {
    return this.#slots[this.#slotOf(id)]
  }

  add(stream: T): void {
    if (2 * (this.size + 1) > this.#slots.length) this.#grow()
    this.#slots[this.#slotOf(stream.id)] = stream
    this.size += 1
  }

  delete(id: number): boolean {
    const slot = this.#slotOf(id)
    if (this.#slots[slot] === undefined) return false
    this.#closeGap(slot)
    this.size -= 1
    return true
  }

  values(): T[] {
    return this.#slots.filter((stream) => stream !== undefined)
  }

  /** The slot that holds the id, or else the free one at which a search for it ends. */
  #slotOf(id: number): number {
    const slots = this.#slots
    const mask = slots.length - 1
    let slot = id & mask
    for (let found = slots[slot]; found !== undefined && found.id !== id; found = slots[slot]) {
      slot = (slot + 1) & mask
    }
    return slot
  }

  #grow(): void {
    const streams = this.values()
    this.#slots = new Array(Math.max(this.#slots.length * 2, 8)).fill(undefined)
    for (const stream of streams) this.#slots[this.#slotOf(stream.id)] = stream
  }

  /** Moves up whatever a search would no longer find behind the gap. */
  #closeGap(slot: number): void {
    const slots = this.#slots
    const mask = slots.length - 1
    let gap = slot
    let next = gap
    for (;;) {
      next = (next + 1) & mask
      const stream = slots[next]
      if (stream === undefined) break
      const distance = (next - (stream.id & mask)) & mask
      if (distance < ((next - gap) & mask)) continue
      slots[gap] = stream
      gap = next
    }
    slots[gap] = undefined
  }
}

/** Of all tables in which there was nothing yet; whoever adds something makes its own. */
const noSlots: undefined[] = []
