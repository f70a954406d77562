import { ProtocolError } from '../../../protocol/errors.ts'

/**
 * What of the host native programs can read: `none` is for static binaries, which need nothing; `usr` shows the host's
 * `/usr` with its programs and libraries, which scripts and dynamic binaries need.
 */
export const nativeRoots = ['none', 'usr'] as const
export type NativeRoot = (typeof nativeRoots)[number]

/** How a program starts: by itself, or by another one, which must be there. */
export type Binary = { readonly kind: 'static' } | { readonly kind: 'interpreted'; readonly by: string }

/**
 * Reads the head of a program: ELF for this machine, or `#!`.
 *
 * @throws ProtocolError `program_invalid` for what Linux would not start here
 */
export function readBinary(bytes: Uint8Array, entry: string): Binary {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const by = isElf(file) ? readElf(file, entry) : readShebang(file)
  if (by === undefined) throw invalid(entry, 'is neither a Linux binary nor a script that begins with #!')
  return by === 'static' ? { kind: 'static' } : { kind: 'interpreted', by }
}

/** @throws ProtocolError `runtime_unavailable` for a program that needs more of the host than there is to see. */
export function assertRunnable(binary: Binary, entry: string, root: NativeRoot): void {
  if (binary.kind === 'static' || root === 'usr' || binary.by.startsWith('/app/')) return
  throw new ProtocolError(
    'runtime_unavailable',
    `"${entry.slice(0, 100)}" is started by ${binary.by}, which programs do not see here.`,
    { hint: 'Link it statically, or deploy it to a provider that was started with --native-root usr.' },
  )
}

/** Offsets of ELF64; EM_X86_64 and EM_AARCH64; PT_INTERP. */
const elf = { machine: 18, segmentsAt: 32, segmentBytes: 54, segments: 56 } as const
const machines: Readonly<Record<string, number>> = { x64: 62, arm64: 183 }
const interpreterType = 3

const isElf = (file: Buffer) => file.length >= 64 && file.readUInt32BE(0) === 0x7f454c46

/** @returns the path of its dynamic loader, or `static`. */
function readElf(file: Buffer, entry: string): string {
  const is64Little = file[4] === 2 && file[5] === 1
  if (!is64Little || file.readUInt16LE(elf.machine) !== machines[process.arch])
    throw invalid(entry, `is a binary for another machine; this provider is ${process.arch}`)
  const at = Number(file.readBigUInt64LE(elf.segmentsAt))
  const size = file.readUInt16LE(elf.segmentBytes)
  const count = file.readUInt16LE(elf.segments)
  if (size < 56 || at + size * count > file.length) throw invalid(entry, 'is a broken binary')
  for (let index = 0; index < count; index++) {
    const segment = file.subarray(at + size * index)
    if (segment.readUInt32LE(0) !== interpreterType) continue
    const pathAt = Number(segment.readBigUInt64LE(8))
    const path = file.subarray(pathAt, pathAt + Math.min(Number(segment.readBigUInt64LE(32)), 256))
    return readPath(path.toString('latin1'))
  }
  return 'static'
}

function readShebang(file: Buffer): string | undefined {
  const [, path] = /^#![ \t]*([^ \t\n]+)/.exec(file.subarray(0, 256).toString('latin1')) ?? []
  return path === undefined ? undefined : readPath(path)
}

/** For a message: no control characters. */
const readPath = (text: string) => text.replaceAll(/[^\x21-\x7e]/g, '')

function invalid(entry: string, why: string): ProtocolError {
  return new ProtocolError('program_invalid', `The entry "${entry.slice(0, 100)}" ${why}.`, {
    hint: 'A native program is a static Linux binary, or a script where the provider offers its interpreter.',
  })
}
