import { KiB } from '../../../protocol/base/bytes.ts'
import { memoryAddress } from './elf.ts'

/** What to run in a sandbox: `argv[0]` is the path. Strings without NUL. */
export interface Launch {
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Ports of the sandbox's own 127.0.0.1; sockets on them are handed over (`handover.ts`). */
  readonly doors?: Doors | undefined
}

export interface Doors {
  /** Where the provider is to listen, before the program begins. */
  readonly listenPort?: number | undefined
  /** Where the program may listen, so that the provider can connect to it. */
  readonly connectPort?: number | undefined
}

/** What the launcher says when it hands over a socket, and when there is none: messages of Node's channel, a line each. */
export const handed = { listener: 'listener', connection: 'connection', nothing: 0 } as const
/** What it is asked for one more connection with. */
export const oneMore = 1

export const imageBytesMax = 512 * KiB
/** MAX_ARG_STRLEN. */
const stringBytesMax = 128 * KiB

/**
 * The launcher's memory, at a fixed address: three pointers, for `execve`; what its system calls for doors take; the lists
 * and strings that are pointed to.
 *
 * @returns undefined where Linux would not take it: a string of more than 128 KiB, 512 KiB in all, or a NUL.
 */
export function encodeLaunch({ args, env, doors = {} }: Launch): Buffer | undefined {
  const strings = [...args, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)]
  const texts = strings.map((text) => Buffer.from(`${text}\0`))
  const listsBytes = 8 * (args.length + 1 + (texts.length - args.length) + 1)
  const bytes = texts.reduce((sum, text) => sum + text.length, places.lists + listsBytes)
  if (bytes > imageBytesMax || texts.some((text) => text.length > stringBytesMax)) return undefined
  if (strings.some((text) => text.includes('\0'))) return undefined
  const image = Buffer.alloc(bytes)
  let at = 0
  const point = (address: number) => {
    at = image.writeBigUInt64LE(BigInt(address), at)
  }
  const argumentsAt = memoryAddress + places.lists
  let textAt = argumentsAt + listsBytes
  point(textAt)
  point(argumentsAt)
  point(argumentsAt + 8 * (args.length + 1))
  writeDoors(image, doors)
  at = places.lists
  texts.forEach((text, index) => {
    if (index === args.length) point(0)
    point(textAt)
    text.copy(image, textAt - memoryAddress)
    textAt += text.length
  })
  if (texts.length === args.length) point(0)
  point(0)
  return image
}

/** Offsets that the machine code knows, and those of what the structures there point to. */
const places = {
  flags: 24,
  listenAddress: 32,
  connectAddress: 48,
  listenerMessage: 64,
  connectionMessage: 120,
  /** `cmsghdr`, and the descriptor that is sent in it. */
  rights: 176,
  listenerVector: 200,
  connectionVector: 216,
  nothing: 232,
  listenerText: 240,
  connectionText: 320,
  lists: 400,
} as const
const flags = { listen: 1n, connect: 2n } as const
const rightsBytes = 20
const [SOL_SOCKET, SCM_RIGHTS, AF_INET] = [1, 1, 2]

function writeDoors(image: Buffer, { listenPort, connectPort }: Doors): void {
  const listen = listenPort === undefined ? 0n : flags.listen
  const connect = connectPort === undefined ? 0n : flags.connect
  image.writeBigUInt64LE(listen | connect, places.flags)
  writeAddress(image, places.listenAddress, listenPort ?? 0)
  writeAddress(image, places.connectAddress, connectPort ?? 0)
  image.writeBigUInt64LE(BigInt(rightsBytes), places.rights)
  image.writeInt32LE(SOL_SOCKET, places.rights + 8)
  image.writeInt32LE(SCM_RIGHTS, places.rights + 12)
  writeMessage(image, {
    at: places.listenerMessage,
    vectorAt: places.listenerVector,
    textAt: places.listenerText,
    text: formatHandle('net.Native', handed.listener),
  })
  writeMessage(image, {
    at: places.connectionMessage,
    vectorAt: places.connectionVector,
    textAt: places.connectionText,
    text: formatHandle('net.Socket', handed.connection),
  })
  image.write(`${handed.nothing}\n`, places.nothing)
}

/** What Node says to Node when it sends a socket, as `child_process` reads it: the one thing here that is Node's own. */
function formatHandle(type: 'net.Native' | 'net.Socket', message: string): string {
  return `${JSON.stringify({ cmd: 'NODE_HANDLE', type, msg: message })}\n`
}

/** `sockaddr_in`, for 127.0.0.1. */
function writeAddress(image: Buffer, at: number, port: number): void {
  image.writeUInt16LE(AF_INET, at)
  image.writeUInt16BE(port, at + 2)
  image.writeUInt32BE(0x7f000001, at + 4)
}

interface Message {
  readonly at: number
  readonly vectorAt: number
  readonly textAt: number
  readonly text: string
}

/** `msghdr` with one `iovec`, and the rights. */
function writeMessage(image: Buffer, { at, vectorAt, textAt, text }: Message): void {
  const point = (place: number, offset: number) =>
    image.writeBigUInt64LE(BigInt(memoryAddress + place), at + offset)
  point(vectorAt, 16)
  image.writeBigUInt64LE(1n, at + 24)
  point(places.rights, 32)
  image.writeBigUInt64LE(24n, at + 40)
  image.writeBigUInt64LE(BigInt(memoryAddress + textAt), vectorAt)
  image.writeBigUInt64LE(BigInt(image.write(text, textAt)), vectorAt + 8)
}
