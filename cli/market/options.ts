import type { Options } from '../command.ts'

/** Flags that several commands share, so that they mean the same everywhere. */

export const marketOptions = {
  gateway: {
    type: 'string',
    value: '<url>',
    help: 'The gateway (default: the running local market, or KHACHAPURI_GATEWAY)',
  },
  rpc: {
    type: 'string',
    value: '<url>[,…]',
    help: "The chain's JSON-RPC; of several what decides about money is compared (default: that of the market, or KHACHAPURI_RPC)",
  },
} as const satisfies Options

export const accountOptions = {
  account: { type: 'string', value: '<name>', help: 'The account, by its name in the keystore' },
  'key-stdin': { type: 'boolean', help: 'Read the private key from standard input' },
} as const satisfies Options

export const pinOptions = {
  'accept-identity': { type: 'boolean', help: "Accept that the provider's account or key has changed" },
} as const satisfies Options

/** Whom a token that is signed here pays. */
export const payeeOptions = {
  provider: {
    type: 'string',
    multiple: true,
    isRequired: true,
    value: '<name>',
    help: 'Who may be paid with it',
  },
} as const satisfies Options

/** Which of a payer's grants for one provider is meant. */
export const signerOptions = {
  signer: {
    type: 'string',
    value: '<account>',
    help: 'For vouchers that this account signs (default: for passes and deployments)',
  },
} as const satisfies Options

export const writeOptions = {
  yes: { type: 'boolean', short: 'y', help: 'Do it without a question' },
  'dry-run': { type: 'boolean', help: 'Show what would be done, and do nothing' },
} as const satisfies Options

export interface MarketFlags {
  readonly gateway?: string | undefined
  readonly rpc?: string | undefined
}

export interface AccountFlags {
  readonly account?: string | undefined
  readonly 'key-stdin'?: boolean | undefined
}

export interface SignerFlags {
  readonly signer?: string | undefined
}

export interface WriteFlags {
  readonly yes?: boolean | undefined
  readonly 'dry-run'?: boolean | undefined
}
