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
export function createStreamTable<T extends { readonly id: number }>(): StreamTable<T> {
  // Most tunnels do nothing, and there are thousands.
  let slots: (T | undefined)[] = []
  let size = 0

  /** The slot that holds the id, or else the free one at which a search for it ends. */
  function slotOf(id: number): number {
    const mask = slots.length - 1
    let slot = id & mask
    for (let found = slots[slot]; found !== undefined && found.id !== id; found = slots[slot]) {
      slot = (slot + 1) & mask
    }
    return slot
  }

  function grow(): void {
    const streams = values()
    slots = new Array(Math.max(slots.length * 2, 8)).fill(undefined)
    for (const stream of streams) slots[slotOf(stream.id)] = stream
  }

  /** Moves up whatever a search would no longer find behind the gap. */
  function closeGap(slot: number): void {
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

  const values = () => slots.filter((stream) => stream !== undefined)

  return {
    get size() {
      return size
    },
    get: (id) => slots[slotOf(id)],
    add(stream) {
      if (2 * (size + 1) > slots.length) grow()
      slots[slotOf(stream.id)] = stream
      size += 1
    },
    delete(id) {
      const slot = slotOf(id)
      if (slots[slot] === undefined) return false
      closeGap(slot)
      size -= 1
      return true
    },
    values,
  }
}
