import { isIPv4, isIPv6 } from 'node:net'
import { limits } from '../limits.ts'

/**
 * What a load balancer says before the first byte of a connection that it passes on: the PROXY protocol, versions 1 and 2
 * (HAProxy's proxy-protocol.txt, March 2020).
 */
export type ProxyHeader =
  /** So far it may become one. */
  | { readonly kind: 'more' }
  | { readonly kind: 'invalid' }
  | {
      readonly kind: 'header'
      /** Of the header; what follows is the connection's own. */
      readonly bytes: number
      /** Who connected; undefined where that is the balancer itself, or somebody without an IP address. */
      readonly address: string | undefined
    }

const more: ProxyHeader = { kind: 'more' }
const invalid: ProxyHeader = { kind: 'invalid' }

const signature1 = Buffer.from('PROXY ')
/** With its CRLF; longer ones are none. */
const line1BytesMax = 107
const line1 =
  /^PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?|(TCP[46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (\d{1,5}) (\d{1,5}))$/

const signature2 = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
const head2Bytes = 16
const commands = { local: 0x20, proxy: 0x21 } as const
const families = { unspecified: 0x00, tcp4: 0x11, tcp6: 0x21, unixStream: 0x31 } as const

/** @param bytes - All that has come so far. Nonsense is told from a beginning with its first wrong byte. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (beginsAs(bytes, signature2)) return bytes.length < head2Bytes ? more : parseVersion2(bytes)
  return beginsAs(bytes, signature1) ? parseVersion1(bytes) : invalid
}

const beginsAs = (bytes: Buffer, signature: Buffer): boolean => {
  const length = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, length, 0, length) === 0
}

function parseVersion1(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, line1BytesMax).indexOf('\r\n')
  if (end < 0) return bytes.length < line1BytesMax ? more : invalid
  const match = line1.exec(bytes.toString('latin1', 0, end))
  if (!match) return invalid
  const [, family, source = '', target = '', sourcePort, targetPort] = match
  const header = { kind: 'header', bytes: end + 2 } as const
  if (family === undefined) return { ...header, address: undefined }
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6
  const isPort = (port: string | undefined) => Number(port) <= 65_535
  if (!isAddress(source) || !isAddress(target) || !isPort(sourcePort) || !isPort(targetPort)) return invalid
  return { ...header, address: source }
}

function parseVersion2(bytes: Buffer): ProxyHeader {
  const command = bytes[12] as number
  const family = bytes[13] as number
  const length = bytes.readUInt16BE(14)
  const whole = head2Bytes + length
  if (command !== commands.local && command !== commands.proxy) return invalid
  if (whole > limits.proxyHeaderBytesMax) return invalid
  if (bytes.length < whole) return more
  const header = { kind: 'header', bytes: whole } as const
  if (command === commands.local) return { ...header, address: undefined }
  if (family === families.unspecified || family === families.unixStream)
    return { ...header, address: undefined }
  // Two addresses and two ports; what else there is says nothing about whose connection it is.
  if (family === families.tcp4 && length >= 12)
    return { ...header, address: bytes.subarray(16, 20).join('.') }
  if (family === families.tcp6 && length >= 36)
    return { ...header, address: formatIpv6(bytes.subarray(16, 32)) }
  return invalid
}

function formatIpv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16))
  return groups.join(':')
}
