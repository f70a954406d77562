import { z } from 'zod'
import { addressSchema } from './schema.ts'

/** What a gateway says of itself at `/_/info`, so that a command line needs to know no more than its URL. */
export const gatewayInfoSchema = z.object({
  /** Host under which providers are subdomains, with a port unless it is the scheme's own. */
  domain: z.string().max(255),
  chainId: z.number().int(),
  escrow: addressSchema,
  registry: addressSchema,
  usdc: addressSchema,
  /** Where programs may be uploaded and are kept. */
  keeper: z.url(),
  /** Where providers without an address connect. */
  tunnel: z.url(),
  /** Multiaddresses of its IPFS node. */
  peers: z.array(z.string().max(512)).max(16),
  version: z.string().max(32),
})
export type GatewayInfo = z.output<typeof gatewayInfoSchema>
