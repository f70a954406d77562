import type { Clock } from './call-record.ts'
import { createDescriptors, type Descriptor, rootFd } from './descriptors.ts'
import { errno } from './errno.ts'
import { type FolderNode, findNode, type Node } from './file-tree.ts'
import type { GuestMemory } from './memory.ts'

/** Where a program's standard input comes from. */
export interface Input {
  /** Takes up to `bytesMax`; none at its end. A promise where nothing has come yet. */
  read(bytesMax: number): Uint8Array | Promise<Uint8Array>
}

/** Where its output goes. */
export interface Output {
  /** @param chunk - Its own copy. @returns a promise where the reader is slower */
  write(chunk: Uint8Array): Promise<void> | undefined
}

export interface WasiOptions {
  readonly args: readonly string[]
  /** `NAME=value` each. */
  readonly environment: readonly string[]
  readonly input: Input
  readonly output: Output
  readonly errors: Output
  readonly root: FolderNode
  readonly clock: Clock
  readonly fillRandom: (target: Uint8Array) => void
  readonly memory: GuestMemory
}

/** Thrown by `proc_exit`, through the program, to whoever ran it. */
export class Exit {
  readonly code: number
  constructor(code: number) {
    this.code = code
  }
}

/**
 * The functions of WASI preview 1 (https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md) for a program
 * that reads a request and writes an answer: standard streams, arguments, environment, files that can only be read, a
 * clock and randomness that are given. There is no network, no other process and nothing to write to.
 *
 * `fd_read` and `fd_write` may give promises; the caller makes them `WebAssembly.Suspending`.
 */
export function createWasi(options: WasiOptions) {
  const { args, environment, input, output, errors, root, clock, fillRandom, memory } = options
  const descriptors = createDescriptors(root)
  const argTexts = args.map(toCString)
  const environmentTexts = environment.map(toCString)

  function readParts(parts: readonly Uint8Array[], source: Uint8Array): number {
    let taken = 0
    for (const part of parts) {
      const piece = source.subarray(taken, taken + part.length)
      part.set(piece)
      taken += piece.length
    }
    return taken
  }

  function readInput(iovs: number, count: number, result: number): number | Promise<number> {
    const bytesMax = memory.parts(iovs, count).reduce((sum, part) => sum + part.length, 0)
    const finish = (chunk: Uint8Array) => {
      memory.view().setUint32(result, readParts(memory.parts(iovs, count), chunk), true)
      return errno.success
    }
    const chunk = input.read(bytesMax)
    return chunk instanceof Uint8Array ? finish(chunk) : chunk.then(finish)
  }

  function readFile(
    bytes: Uint8Array,
    position: bigint,
    iovs: number,
    count: number,
    result: number,
  ): number {
    const at = position > BigInt(bytes.length) ? bytes.length : Number(position)
    const taken = readParts(memory.parts(iovs, count), bytes.subarray(at))
    memory.view().setUint32(result, taken, true)
    return taken
  }

  function writeTo(target: Output, iovs: number, count: number, result: number): number | Promise<number> {
    const chunk = join(memory.parts(iovs, count))
    const finish = () => {
      memory.view().setUint32(result, chunk.length, true)
      return errno.success
    }
    const waiting = chunk.length > 0 ? target.write(chunk) : undefined
    return waiting ? waiting.then(finish) : finish()
  }

  /** Looks a path up in an open folder and does something with what is there. */
  function at(fd: number, path: number, length: number, use: (node: Node) => number): number {
    const folder = descriptors.get(fd)
    if (!folder) return errno.badf
    if (folder.kind !== 'folder') return errno.notdir
    const node = findNode(folder.node, memory.text(path, length))
    return node ? use(node) : errno.noent
  }

  function putFileStat(pointer: number, { inode, ...node }: Node): number {
    const view = memory.view()
    const bytes = memory.bytes(pointer, 64).fill(0)
    view.setBigUint64(pointer + 8, inode, true)
    bytes[16] = node.kind === 'file' ? fileTypes.file : fileTypes.folder
    view.setBigUint64(pointer + 24, 1n, true)
    view.setBigUint64(pointer + 32, node.kind === 'file' ? BigInt(node.bytes.length) : 0n, true)
    return errno.success
  }

  function putList(texts: readonly Uint8Array[], pointers: number, buffer: number): number {
    let at = buffer
    texts.forEach((text, index) => {
      memory.view().setUint32(pointers + 4 * index, at, true)
      memory.bytes(at, text.length).set(text)
      at += text.length
    })
    return errno.success
  }

  function putSizes(texts: readonly Uint8Array[], count: number, size: number): number {
    memory.view().setUint32(count, texts.length, true)
    memory.view().setUint32(
      size,
      texts.reduce((sum, text) => sum + text.length, 0),
      true,
    )
    return errno.success
  }

  function putEvent(pointer: number, userdata: bigint, type: number): void {
    memory.bytes(pointer, 32).fill(0)
    memory.view().setBigUint64(pointer, userdata, true)
    memory.view().setUint8(pointer + 10, type)
  }

  /** Nothing to do, where there is such a descriptor at all. */
  const ignore = (fd: number) => (descriptors.get(fd) ? errno.success : errno.badf)
  const readOnly = () => errno.rofs
  const missing = () => errno.nosys

  return {
    args_get: (pointers: number, buffer: number) => putList(argTexts, pointers, buffer),
    args_sizes_get: (count: number, size: number) => putSizes(argTexts, count, size),
    environ_get: (pointers: number, buffer: number) => putList(environmentTexts, pointers, buffer),
    environ_sizes_get: (count: number, size: number) => putSizes(environmentTexts, count, size),

    clock_res_get(_id: number, result: number) {
      memory.view().setBigUint64(result, 1_000n, true)
      return errno.success
    },
    clock_time_get(_id: number, _precision: bigint, result: number) {
      memory.view().setBigUint64(result, clock.now(), true)
      return errno.success
    },
    random_get(pointer: number, length: number) {
      fillRandom(memory.bytes(pointer, length))
      return errno.success
    },
    sched_yield: () => errno.success,
    proc_exit(code: number) {
      throw new Exit(code)
    },
    proc_raise(signal: number) {
      throw new Exit(128 + signal)
    },

    /** A sleep takes no time, but the clock has moved; streams are always ready, because reading waits by itself. */
    poll_oneoff(subscriptions: number, events: number, count: number, result: number) {
      const wanted = Array.from({ length: count }, (_, i) =>
        readSubscription(memory.view(), subscriptions + 48 * i),
      )
      const streams = wanted.filter(({ timeoutNs }) => timeoutNs === undefined)
      const nextNs = wanted.reduce<bigint | undefined>(
        (least, { timeoutNs }) =>
          timeoutNs !== undefined && (least === undefined || timeoutNs < least) ? timeoutNs : least,
        undefined,
      )
      if (streams.length === 0 && nextNs !== undefined) clock.pass(nextNs)
      const ready = streams.length > 0 ? streams : wanted.filter(({ timeoutNs }) => timeoutNs === nextNs)
      ready.forEach(({ userdata, type }, i) => {
        putEvent(events + 32 * i, userdata, type)
      })
      memory.view().setUint32(result, ready.length, true)
      return count === 0 ? errno.inval : errno.success

      function readSubscription(view: DataView, pointer: number) {
        const type = view.getUint8(pointer + 8)
        const isAbsolute = view.getUint16(pointer + 40, true) === 1
        const given = view.getBigUint64(pointer + 24, true)
        const nowNs = type === 0 && isAbsolute ? clock.now() : 0n
        const timeoutNs = type === 0 ? (given > nowNs ? given - nowNs : 0n) : undefined
        return { userdata: view.getBigUint64(pointer, true), type, timeoutNs }
      }
    },

    fd_read(fd: number, iovs: number, count: number, result: number): number | Promise<number> {
      const descriptor = descriptors.get(fd)
      if (descriptor?.kind === 'input') return readInput(iovs, count, result)
      if (descriptor?.kind === 'folder') return errno.isdir
      if (descriptor?.kind !== 'file') return errno.badf
      const taken = readFile(descriptor.node.bytes, descriptor.position, iovs, count, result)
      descriptor.position += BigInt(taken)
      return errno.success
    },
    fd_pread(fd: number, iovs: number, count: number, position: bigint, result: number) {
      const descriptor = descriptors.get(fd)
      if (descriptor?.kind === 'folder') return errno.isdir
      if (descriptor?.kind !== 'file') return descriptor ? errno.spipe : errno.badf
      readFile(descriptor.node.bytes, BigInt.asUintN(64, position), iovs, count, result)
      return errno.success
    },
    fd_write(fd: number, iovs: number, count: number, result: number): number | Promise<number> {
      const descriptor = descriptors.get(fd)
      if (descriptor?.kind === 'output') return writeTo(output, iovs, count, result)
      if (descriptor?.kind === 'errors') return writeTo(errors, iovs, count, result)
      return errno.badf
    },
    fd_seek(fd: number, offset: bigint, whence: number, result: number) {
      const descriptor = descriptors.get(fd)
      if (descriptor?.kind !== 'file') return descriptor ? errno.spipe : errno.badf
      const base = [0n, descriptor.position, BigInt(descriptor.node.bytes.length)][whence]
      if (base === undefined || base + offset < 0n) return errno.inval
      descriptor.position = base + offset
      memory.view().setBigUint64(result, descriptor.position, true)
      return errno.success
    },
    fd_tell(fd: number, result: number) {
      const descriptor = descriptors.get(fd)
      if (descriptor?.kind !== 'file') return descriptor ? errno.spipe : errno.badf
      memory.view().setBigUint64(result, descriptor.position, true)
      return errno.success
    },
    fd_close: (fd: number) => (descriptors.close(fd) ? errno.success : errno.badf),
    fd_renumber: (from: number, to: number) => (descriptors.renumber(from, to) ? errno.success : errno.badf),
    fd_fdstat_get(fd: number, result: number) {
      const descriptor = descriptors.get(fd)
      if (!descriptor) return errno.badf
      const { type, rights } = describe(descriptor)
      memory.bytes(result, 24).fill(0)
      memory.view().setUint8(result, type)
      memory.view().setBigUint64(result + 8, rights, true)
      memory.view().setBigUint64(result + 16, rights, true)
      return errno.success
    },
    fd_filestat_get(fd: number, result: number) {
      const descriptor = descriptors.get(fd)
      if (!descriptor) return errno.badf
      if (descriptor.kind === 'file' || descriptor.kind === 'folder')
        return putFileStat(result, descriptor.node)
      memory.bytes(result, 64).fill(0)
      memory.view().setUint8(result + 16, fileTypes.stream)
      return errno.success
    },
    fd_prestat_get(fd: number, result: number) {
      if (fd !== rootFd) return errno.badf
      memory.view().setUint32(result, 0, true)
      memory.view().setUint32(result + 4, 1, true)
      return errno.success
    },
    fd_prestat_dir_name(fd: number, path: number, length: number) {
      if (fd !== rootFd || length < 1) return errno.badf
      memory.view().setUint8(path, '/'.charCodeAt(0))
      return errno.success
    },
    fd_readdir(fd: number, buffer: number, length: number, cookie: bigint, result: number) {
      const descriptor = descriptors.get(fd)
      if (descriptor?.kind !== 'folder') return descriptor ? errno.notdir : errno.badf
      const target = memory.bytes(buffer, length)
      let used = 0
      let index = 0n
      const from = BigInt.asUintN(64, cookie)
      for (const [name, node] of descriptor.node.children) {
        index += 1n
        if (index <= from) continue
        // What does not fit is cut off: a full buffer tells the program to ask again from the last whole entry.
        const entry = formatEntry(name, node, index).subarray(0, target.length - used)
        target.set(entry, used)
        used += entry.length
        if (used === target.length) break
      }
      memory.view().setUint32(result, used, true)
      return errno.success
    },
    fd_advise: ignore,
    fd_fdstat_set_flags: ignore,
    fd_sync: ignore,
    fd_datasync: ignore,
    fd_pwrite: readOnly,
    fd_allocate: readOnly,
    fd_filestat_set_size: readOnly,
    fd_filestat_set_times: readOnly,
    fd_fdstat_set_rights: missing,

    path_open(
      fd: number,
      _lookup: number,
      path: number,
      length: number,
      flags: number,
      _rights: bigint,
      _inheriting: bigint,
      _fdFlags: number,
      result: number,
    ) {
      const { create, folder, exclusive, truncate } = openFlags
      const found = at(fd, path, length, (node) => {
        if (flags & (truncate | exclusive)) return errno.rofs
        if (flags & folder && node.kind === 'file') return errno.notdir
        const opened = descriptors.open(node)
        if (opened === undefined) return errno.mfile
        memory.view().setUint32(result, opened, true)
        return errno.success
      })
      return found === errno.noent && flags & create ? errno.rofs : found
    },
    path_filestat_get: (fd: number, _flags: number, path: number, length: number, result: number) =>
      at(fd, path, length, (node) => putFileStat(result, node)),
    path_readlink: (fd: number, path: number, length: number) => at(fd, path, length, () => errno.inval),
    path_create_directory: readOnly,
    path_unlink_file: readOnly,
    path_remove_directory: readOnly,
    path_rename: readOnly,
    path_link: readOnly,
    path_symlink: readOnly,
    path_filestat_set_times: readOnly,

    sock_accept: missing,
    sock_recv: missing,
    sock_send: missing,
    sock_shutdown: missing,
  }
}

/** A stream is a socket, so that libraries write to it in large pieces, not in lines as to a terminal. */
const fileTypes = { folder: 3, file: 4, stream: 6 } as const
const openFlags = { create: 1, folder: 2, exclusive: 4, truncate: 8 } as const

/** Rights of preview 1, as bits. A program asks for no more than its folder can pass on. */
const right = {
  read: 1n << 1n,
  seek: 1n << 2n,
  tell: 1n << 5n,
  write: 1n << 6n,
  open: 1n << 13n,
  list: 1n << 14n,
  readLink: 1n << 15n,
  statPath: 1n << 18n,
  stat: 1n << 21n,
  poll: 1n << 27n,
} as const
const fileRights = right.read | right.seek | right.tell | right.stat | right.poll
const folderRights = fileRights | right.open | right.list | right.readLink | right.statPath

function describe({ kind }: Descriptor): { readonly type: number; readonly rights: bigint } {
  switch (kind) {
    case 'input':
      return { type: fileTypes.stream, rights: right.read | right.poll }
    case 'output':
    case 'errors':
      return { type: fileTypes.stream, rights: right.write | right.poll }
    case 'folder':
      return { type: fileTypes.folder, rights: folderRights }
    case 'file':
      return { type: fileTypes.file, rights: fileRights }
  }
}

function formatEntry(name: string, node: Node, next: bigint): Uint8Array {
  const text = encoder.encode(name)
  const entry = new Uint8Array(24 + text.length)
  const view = new DataView(entry.buffer)
  view.setBigUint64(0, next, true)
  view.setBigUint64(8, node.inode, true)
  view.setUint32(16, text.length, true)
  view.setUint8(20, node.kind === 'file' ? fileTypes.file : fileTypes.folder)
  entry.set(text, 24)
  return entry
}

const encoder = new TextEncoder()
/** What follows a NUL could not be seen by a program in C anyway. */
const toCString = (text: string) => encoder.encode(`${text.replaceAll('\0', '')}\0`)

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
