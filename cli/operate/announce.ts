import { regionPattern } from '../../protocol/announcement.ts'
import { limits } from '../../protocol/limits.ts'
import type { AnnounceOptions } from '../../provider/provider.ts'
import { type Options, usageError } from '../command.ts'

export const announceOptions = {
  region: {
    type: 'string',
    value: '<word>',
    help: 'Where it stands, for listings: letters, digits and hyphens, such as eu-central',
  },
  announce: {
    type: 'string',
    value: '<url>',
    multiple: true,
    help: 'Tell this gateway every few seconds that it is there, or "none" for nobody (default: the gateway of its tunnel, or of the market)',
  },
} as const satisfies Options

interface AnnounceFlags {
  readonly region?: string | undefined
  readonly announce?: readonly string[] | undefined
}

/**
 * Reads to whom a provider announces itself. @throws ProtocolError `usage_invalid`
 *
 * @param tunnel - Of the gateway that is told where no flag names one.
 */
export function parseAnnounce({ region, announce = [] }: AnnounceFlags, tunnel: string): AnnounceOptions {
  if (region !== undefined && !regionPattern.test(region)) {
    throw usageError(
      `"${region.slice(0, 40)}" is not a region.`,
      'Write 1 to 32 small letters, digits and hyphens, as in --region eu-central.',
    )
  }
  if (announce.length > limits.announceGatewaysMax) {
    throw usageError(
      `--announce names ${announce.length} gateways.`,
      `Name ${limits.announceGatewaysMax} at most; those of a cluster tell each other.`,
    )
  }
  if (announce.includes('none')) {
    if (announce.length > 1)
      throw usageError('--announce none goes with no other --announce.', 'Leave one of the two out.')
    return { region, gateways: [] }
  }
  return { region, gateways: announce.length > 0 ? announce.map(parseGateway) : [originOf(tunnel)] }
}

function originOf(tunnel: string): URL {
  const url = new URL('/', tunnel)
  url.protocol = url.protocol === 'wss:' ? 'https:' : 'http:'
  return url
}

function parseGateway(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url && (url.protocol === 'http:' || url.protocol === 'https:') && url.pathname === '/') return url
  throw usageError(
    `"${text.slice(0, 80)}" is not a gateway for --announce.`,
    'Write its origin, as in --announce https://gateway.example.',
  )
}
