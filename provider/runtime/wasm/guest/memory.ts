/** A program's memory as the functions of WASI see it. The views are made anew whenever the memory has grown. */
export interface GuestMemory {
  view(): DataView
  /** @throws RangeError where a part of it lies outside, as a program may ask for */
  bytes(pointer: number, length: number): Uint8Array
  text(pointer: number, length: number): string
  /** Reads a list of `iovec`: parts of memory, 4 bytes of address and 4 of length each. */
  parts(pointer: number, count: number): Uint8Array[]
}

/** @param buffer - Of the instance, which is there only once its imports are. */
export function createMemory(buffer: () => ArrayBuffer): GuestMemory {
  let seen: ArrayBuffer | undefined
  let data = new DataView(new ArrayBuffer(0))
  function view(): DataView {
    const current = buffer()
    if (current !== seen) {
      seen = current
      data = new DataView(current)
    }
    return data
  }
  const bytes = (pointer: number, length: number) =>
    new Uint8Array(view().buffer, pointer >>> 0, length >>> 0)
  return {
    view,
    bytes,
    text: (pointer, length) => decoder.decode(bytes(pointer, length)),
    parts(pointer, count) {
      const parts: Uint8Array[] = []
      for (let i = 0; i < count >>> 0; i += 1) {
        const at = (pointer >>> 0) + 8 * i
        parts.push(bytes(view().getUint32(at, true), view().getUint32(at + 4, true)))
      }
      return parts
    },
  }
}

const decoder = new TextDecoder()
