import type { AnnouncedFacts } from '../../protocol/announcement.ts'
import { parseName } from '../../protocol/name.ts'
import { usdc } from '../../protocol/usdc.ts'

/** What alice says of herself when she announces. */
export const announcedByAlice: AnnouncedFacts = {
  name: parseName('alice'),
  endpoint: 'http://127.0.0.1:1',
  region: 'eu-central',
  version: '1.2.0',
  price: usdc(500n),
  runtimes: ['js', 'wasm'],
  tier: 'sandbox',
  egress: 'none',
  capacity: { memoryMiB: 512, calls: 64, callsInFlight: 3 },
}
