/** A map that holds the newest entries only: setting one makes it the newest, and the oldest goes where it has no place. */
export interface Recent<K, V> {
  readonly size: number
  get(key: K): V | undefined
  has(key: K): boolean
  set(key: K, value: V): void
  delete(key: K): void
  values(): IterableIterator<V>
  entries(): IterableIterator<[K, V]>
}

export function createRecent<K, V>(sizeMax: number): Recent<K, V> {
  const entries = new Map<K, V>()
  let newest: K | undefined
  return {
    get size() {
      return entries.size
    },
    get: (key) => entries.get(key),
    has: (key) => entries.has(key),
    set(key, value) {
      // Most calls are of who called last. A small map that loses and gains an entry makes itself a new table each time.
      if (key !== newest) entries.delete(key)
      newest = key
      entries.set(key, value)
      if (entries.size <= sizeMax) return
      for (const oldest of entries.keys()) {
        entries.delete(oldest)
        return
      }
    },
    delete: (key) => void entries.delete(key),
    values: () => entries.values(),
    entries: () => entries.entries(),
  }
}
