import { assert } from '../../../protocol/base/assert.ts'

/**
 * A value in a Cap'n Proto message. Only what workerd's configuration needs: structs whose data section is one
 * 16-bit union tag, lists of them, text and bytes.
 */
export type CapnpValue =
  | { readonly kind: 'struct'; readonly struct: CapnpStruct }
  | { readonly kind: 'structs'; readonly structs: readonly CapnpStruct[] }
  | { readonly kind: 'texts'; readonly texts: readonly string[] }
  | { readonly kind: 'text'; readonly bytes: Uint8Array }
  | { readonly kind: 'data'; readonly bytes: Uint8Array }

export interface CapnpStruct {
  /** The discriminant of the struct's union, at offset 0 of its data. */
  readonly tag?: number
  /** The pointer section; undefined is a null pointer, that is the field's default. */
  readonly pointers: readonly (CapnpValue | undefined)[]
}

const wordBytes = 8
const listOfBytes = 2
const listOfPointers = 6
const listOfStructs = 7

/**
 * Encodes a message of one segment, framed as a stream (https://capnproto.org/encoding.html).
 *
 * The encoder is used instead of workerd's own text format: no process and no file per program, secrets stay in
 * memory, and no name that a program chose can end up as syntax.
 */
export function encodeCapnp(root: CapnpStruct): Buffer {
  const words = 1 + structWords(root)
  const message = Buffer.alloc((1 + words) * wordBytes)
  message.writeUInt32LE(words, 4)

  const segment = message.subarray(wordBytes)
  let free = 1
  const allocate = (count: number): number => {
    const at = free
    free += count
    return at
  }

  writePointer(0, { kind: 'struct', struct: root })
  assert(free === words, 'the message is as long as was computed')
  return message

  function writePointer(at: number, value: CapnpValue | undefined): void {
    if (!value) return
    switch (value.kind) {
      case 'struct': {
        const target = allocate(1 + value.struct.pointers.length)
        setPointer(at, target, 0, 1 | (value.struct.pointers.length << 16))
        writeStruct(target, value.struct)
        return
      }
      case 'structs':
        writeStructs(at, value.structs)
        return
      case 'texts': {
        const target = allocate(value.texts.length)
        setPointer(at, target, 1, listOfPointers | (value.texts.length << 3))
        for (const [index, one] of value.texts.entries()) writePointer(target + index, text(one))
        return
      }
      case 'text':
      case 'data': {
        const size = value.bytes.byteLength + (value.kind === 'text' ? 1 : 0)
        const target = allocate(wordsFor(size))
        setPointer(at, target, 1, (listOfBytes | (size << 3)) >>> 0)
        segment.set(value.bytes, target * wordBytes)
      }
    }
  }

  /** A list of structs in place, behind a tag word; all have the size of the largest. */
  function writeStructs(at: number, structs: readonly CapnpStruct[]): void {
    const pointers = pointersMax(structs)
    const target = allocate(1 + structs.length * (1 + pointers))
    setPointer(at, target, 1, listOfStructs | ((structs.length * (1 + pointers)) << 3))
    segment.writeUInt32LE(structs.length << 2, target * wordBytes)
    segment.writeUInt32LE(1 | (pointers << 16), target * wordBytes + 4)
    for (const [index, one] of structs.entries()) writeStruct(target + 1 + index * (1 + pointers), one)
  }

  function writeStruct(at: number, { tag = 0, pointers }: CapnpStruct): void {
    segment.writeUInt16LE(tag, at * wordBytes)
    for (const [index, value] of pointers.entries()) writePointer(at + 1 + index, value)
  }

  function setPointer(at: number, target: number, kind: number, upper: number): void {
    segment.writeUInt32LE((((target - at - 1) << 2) | kind) >>> 0, at * wordBytes)
    segment.writeUInt32LE(upper >>> 0, at * wordBytes + 4)
  }
}

/** @throws TypeError never: a lone surrogate becomes U+FFFD. */
export function text(value: string): CapnpValue {
  return { kind: 'text', bytes: Buffer.from(value, 'utf8') }
}

export function struct(pointers: CapnpStruct['pointers'], tag = 0): CapnpValue {
  return { kind: 'struct', struct: { pointers, tag } }
}

function structWords({ pointers }: CapnpStruct): number {
  return 1 + pointers.length + pointers.reduce((sum, value) => sum + valueWords(value), 0)
}

/** What a value takes beside the pointer to it. */
function valueWords(value: CapnpValue | undefined): number {
  switch (value?.kind) {
    case undefined:
      return 0
    case 'struct':
      return structWords(value.struct)
    case 'structs': {
      const pad = pointersMax(value.structs)
      return value.structs.reduce((sum, one) => sum + structWords(one) + pad - one.pointers.length, 1)
    }
    case 'texts':
      return value.texts.reduce((sum, one) => sum + 1 + wordsFor(Buffer.byteLength(one) + 1), 0)
    case 'text':
      return wordsFor(value.bytes.byteLength + 1)
    case 'data':
      return wordsFor(value.bytes.byteLength)
  }
}

function pointersMax(structs: readonly CapnpStruct[]): number {
  return structs.reduce((max, { pointers }) => Math.max(max, pointers.length), 0)
}

function wordsFor(bytes: number): number {
  return Math.ceil(bytes / wordBytes)
}
