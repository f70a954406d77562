/**
 * A queue of lanes that are served in turn: whoever puts much into it waits for itself, and delays each other lane by one
 * item at most.
 */
export interface FairQueue<T> {
  readonly size: number
  /** @returns false where the lane or the queue is full; then nothing was added. */
  add(lane: string, item: T): boolean
  /** Takes an item out that nobody wants any more. */
  remove(lane: string, item: T): void
  /**
   * Takes the oldest fitting item of the lane that was served longest ago; a lane with none that fits keeps its turn.
   *
   * @param fits - Whether the item can be served now.
   */
  take(fits: (item: T) => boolean): T | undefined
}

export interface FairQueueOptions {
  readonly sizeMax: number
  readonly laneSizeMax: number
}

export function createFairQueue<T>({ sizeMax, laneSizeMax }: FairQueueOptions): FairQueue<T> {
  /** In the order of their turns. A lane without items has gone. */
  const lanes = new Map<string, T[]>()
  let size = 0

  function takeAt(lane: string, items: T[], index: number): T {
    const [item] = items.splice(index, 1)
    size -= 1
    if (items.length === 0) lanes.delete(lane)
    return item as T
  }

  return {
    get size() {
      return size
    },
    add(lane, item) {
      const items = lanes.get(lane) ?? []
      if (size >= sizeMax || items.length >= laneSizeMax) return false
      items.push(item)
      lanes.set(lane, items)
      size += 1
      return true
    },
    remove(lane, item) {
      const items = lanes.get(lane)
      const index = items?.indexOf(item) ?? -1
      if (items && index >= 0) takeAt(lane, items, index)
    },
    take(fits) {
      for (const [lane, items] of lanes) {
        const index = items.findIndex(fits)
        if (index < 0) continue
        const item = takeAt(lane, items, index)
        if (items.length > 0) {
          lanes.delete(lane)
          lanes.set(lane, items)
        }
        return item
      }
      return undefined
    },
  }
}
