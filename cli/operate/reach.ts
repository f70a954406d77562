import { isTunnelUrl } from '../../provider/presence.ts'
import type { Reach } from '../../provider/provider.ts'
import { type Options, usageError } from '../command.ts'
import { parseCount } from '../duration.ts'

export const reachOptions = {
  tunnel: {
    type: 'string',
    value: '<ws-url>',
    help: "Be reached through this gateway's tunnel (default: that of the market)",
  },
  port: {
    type: 'string',
    value: '<port>',
    help: 'Listen here instead, where callers can reach this machine',
  },
  host: { type: 'string', value: '<address>', help: 'Address to listen on (default 127.0.0.1)' },
  'public-url': { type: 'string', value: '<url>', help: 'How callers reach it, if not at host and port' },
} as const satisfies Options

interface ReachFlags {
  readonly tunnel?: string | undefined
  readonly port?: string | undefined
  readonly host?: string | undefined
  readonly 'public-url'?: string | undefined
}

/**
 * Reads how a provider is to be reached. @throws ProtocolError `usage_invalid`
 *
 * @param marketTunnel - Where the market's gateway takes tunnels.
 */
export function parseReach(flags: ReachFlags, marketTunnel: string): Reach {
  const { tunnel, host, 'public-url': publicUrl } = flags
  const isDirect = flags.port !== undefined || host !== undefined || publicUrl !== undefined
  if (isDirect && tunnel !== undefined) {
    throw usageError(
      '--tunnel and --port exclude each other.',
      'Behind a tunnel no port is opened: leave --port out.',
    )
  }
  if (!isDirect)
    return { kind: 'tunnel', gatewayUrl: parseUrl('tunnel', tunnel ?? marketTunnel, ['ws:', 'wss:']) }
  if (flags.port === undefined)
    throw usageError('--port is missing.', 'Add --port <port>; 0 takes a free one.')
  const port = parseCount('port', flags.port, { min: 0, max: 65_535 })
  const listening = { kind: 'direct', host: host ?? '127.0.0.1', port } as const
  if (publicUrl === undefined) return listening
  return { ...listening, publicUrl: new URL(parseUrl('public-url', publicUrl, ['http:', 'https:'])).origin }
}

/**
 * What `provider endpoint` said before, where no flag says another and the provider can be reached there.
 */
export function savedEndpoint(
  flags: ReachFlags,
  reach: Reach,
  saved: string | undefined,
): string | undefined {
  if (saved === undefined || flags.tunnel !== undefined || flags['public-url'] !== undefined) return undefined
  return isTunnelUrl(saved) || reach.kind === 'direct' ? saved : undefined
}

/** Reads where callers are to come: an origin, or a gateway's tunnel. @throws ProtocolError `usage_invalid` */
export function parseEndpoint(text: string): string {
  const protocols = ['http:', 'https:', 'ws:', 'wss:']
  if (!URL.canParse(text) || !protocols.includes(new URL(text).protocol)) {
    throw usageError(
      `"${text.slice(0, 80)}" is no place where callers could come.`,
      'Write https://<host> for an address, or wss://<gateway>/_/tunnel for a tunnel.',
    )
  }
  return isTunnelUrl(text) ? text : new URL(text).origin
}

function parseUrl(flag: string, text: string, protocols: readonly string[]): string {
  if (URL.canParse(text) && protocols.includes(new URL(text).protocol)) return text
  throw usageError(
    `"${text.slice(0, 80)}" is not a URL for --${flag}.`,
    `It begins with ${protocols.join('// or ')}//.`,
  )
}
