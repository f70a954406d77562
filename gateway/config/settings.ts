import { isIP } from 'node:net'
import { z } from 'zod'
import { limits } from '../../protocol/limits.ts'
import { addressSchema } from '../../protocol/schema.ts'
import { networkListSchema } from '../limits/client-network.ts'
import { frontRulesShape } from '../limits/front-rules.ts'

/** Pieces of the configuration that say what they expect. */

const httpUrl = (what: string) => z.url({ protocol: /^https?$/, error: `Expected ${what}` })

const rpcUrlSchema = httpUrl('the URL of a JSON-RPC server')

/** Several stand with commas between. */
const rpcUrlsSchema = z
  .string()
  .max(limits.rpcUrlsBytesMax)
  .refine(
    (text) => text.split(',').every((part) => rpcUrlSchema.safeParse(part.trim()).success),
    'Expected the URL of a JSON-RPC server, or several with commas between',
  )

/** The RPC servers that the setting `chain.rpc` names, in its order. */
export const rpcUrlsOf = (setting: string): URL[] => setting.split(',').map((part) => new URL(part.trim()))

/** A host with labels, and a port where it is not the scheme's own. */
const domainSchema = z
  .string()
  .max(255)
  .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$/i, 'Expected a host such as market.example')
  .refine((text) => isIP(text) === 0, 'Expected a host, as an address has no subdomains')

const nameSchema = z.string().regex(/^[a-z0-9-]{1,63}$/, 'Expected the name of a provider')

const fileName = z.string().min(1).max(4096)

const settingsShape = {
  /** Address to listen on. */
  host: z.string().min(1).max(255).default('127.0.0.1'),
  /** 0 takes a free one. */
  port: z.int().min(0).max(65_535).default(8080),
  /** Host under which providers are subdomains; `localhost:<port>` where it is not said. */
  domain: domainSchema.optional(),
  /** How the world reaches the gateway, where something stands before it. */
  publicUrl: httpUrl('an origin such as https://market.example').optional(),
  /** Lets providers be on this machine or in its network. */
  allowPrivate: z.boolean().default(false),
  /** Blocks, bookkeeping and keys; `~/.khachapuri/gateway` where it is not said. */
  dir: fileName.optional(),
  /** Processes on the port, one for each core that the gateway is to use. */
  workers: z.int().min(1).max(limits.gatewayWorkersMax).default(1),
  /** Lets another process of the same user listen on the same port: the next version, before this one stops. */
  sharePort: z.boolean().default(false),
  /** Load balancers before it that say whose each connection is (PROXY protocol, versions 1 and 2). */
  balancers: networkListSchema.default([]),
  /** How long it goes on serving after it was asked to stop, saying 503 at `/readyz`. */
  drainMs: z.int().min(0).max(600_000).default(0),
  /** How long calls in flight may go on when it closes. */
  shutdownTimeoutMs: z.int().min(0).max(3_600_000).default(limits.shutdownTimeoutMs),
  /** With this the gateway ends TLS itself, for HTTP/1.1 and HTTP/2. */
  tls: z
    .strictObject({
      /** PEM: the certificate, then its chain. It is read again whenever it changes. */
      cert: fileName.optional(),
      /** PEM, which only its owner may read. */
      key: fileName.optional(),
      /** Certificates from an authority instead (RFC 8555). */
      acme: z
        .strictObject({
          /** Turning it on agrees to the authority's terms. */
          enabled: z.boolean().default(false),
          directory: httpUrl('the URL of an ACME directory').default(
            'https://acme-v02.api.letsencrypt.org/directory',
          ),
          /** Where the authority writes to. */
          email: z.email('Expected an e-mail address').max(254).optional(),
          /** A command and its arguments that puts DNS records; without it there is no wildcard. */
          hook: z.array(z.string().max(4096)).max(limits.acmeHookWordsMax).optional(),
          /** Providers that stand in the certificate by their names. */
          providers: z.array(z.string().max(limits.nameBytesMax)).max(limits.acmeProvidersMax).default([]),
          /** Certificates for domains of others that are pointed here and proved, ordered within an hour; 0 for none. */
          domainsPerHour: z
            .int()
            .min(0)
            .max(limits.domainOrdersPerHourMax)
            .default(limits.domainOrdersPerHourDefault),
        })
        .prefault({}),
      /** Where plain HTTP is led to https. */
      httpPort: z.int().min(0).max(65_535).optional(),
      /** Of `Strict-Transport-Security`; 0 for none. */
      hstsSeconds: z
        .int()
        .min(0)
        .max(2 * limits.hstsSecondsDefault)
        .default(limits.hstsSecondsDefault),
    })
    .refine(({ cert, key }) => (cert === undefined) === (key === undefined), {
      error: 'Expected a certificate and its key, both or none',
      path: ['key'],
    })
    .refine(({ cert, acme }) => cert === undefined || !acme.enabled, {
      error: 'There are two certificates; give files, or an ACME authority, not both',
      path: ['acme', 'enabled'],
    })
    .refine(({ acme, httpPort }) => !acme.enabled || acme.hook !== undefined || httpPort !== undefined, {
      error: 'The authority has no way to come; give a port for plain HTTP (80), or a hook for DNS',
      path: ['acme', 'enabled'],
    })
    .refine(({ cert, acme, httpPort }) => httpPort === undefined || cert !== undefined || acme.enabled, {
      error: 'It leads to https, and there is no certificate; give files, or an ACME authority',
      path: ['httpPort'],
    })
    .prefault({}),
  /** Several gateways that answer for the same names. */
  fleet: z
    .strictObject({
      /** Where this very gateway is reached, beside the domain that all share. */
      nodeUrl: httpUrl('an origin such as https://gw1.market.example').optional(),
      /** The tunnels of the others: providers dial all of them. */
      gateways: z
        .array(z.url({ protocol: /^wss?$/, error: 'Expected wss://gw2.market.example/_/tunnel' }))
        .max(limits.gatewaysPerTunnelMax - 1)
        .default([]),
      /** NATS servers with JetStream, through which more gateways know of each other. */
      cluster: z
        .array(z.url({ protocol: /^(?:nats|tls)$/, error: 'Expected nats://host:4222' }))
        .max(16)
        .default([]),
      /** How many gateways of a cluster each provider dials. */
      homes: z.int().min(1).max(limits.gatewaysPerTunnelMax).default(limits.clusterHomesDefault),
      /** Where other gateways of the cluster hand over requests: an address that callers cannot reach. */
      hopHost: z.string().min(1).max(255).default('127.0.0.1'),
      hopPort: z.int().min(0).max(65_535).default(0),
      /** How they reach it. */
      hopUrl: z
        .url({ protocol: /^http$/, error: 'Expected an origin such as http://10.0.0.1:7000' })
        .optional(),
      /** Where the others are, so that nobody who writes into the store leads callers elsewhere. */
      hopNetworks: networkListSchema.default([]),
    })
    .refine(({ cluster, gateways }) => cluster.length === 0 || gateways.length === 0, {
      error: 'A cluster finds its gateways itself; leave out the list, or the cluster',
      path: ['gateways'],
    })
    .prefault({}),
  /** The chain that names are registered on, and the contracts of the market. */
  chain: z
    .strictObject({
      /** Of several, what decides about money and names is compared. */
      rpc: rpcUrlsSchema,
      chainId: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
      escrow: addressSchema,
      registry: addressSchema,
      usdc: addressSchema,
    })
    .prefault({} as never),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('warn'),
      /** One line per call, at the level `info`. */
      calls: z.boolean().default(true),
    })
    .prefault({}),
  metrics: z
    .strictObject({
      /** Metrics are shown where it is given; 0 takes a free port. */
      port: z.int().min(0).max(65_535).optional(),
      host: z.string().min(1).max(255).default('127.0.0.1'),
      /** Providers that get a series of their own. */
      providers: z.array(nameSchema).max(100).default([]),
    })
    .prefault({}),
  tracing: z
    .strictObject({
      /** Traces are exported where it is given, as OTLP over HTTP in JSON. */
      url: httpUrl('the URL of a collector, such as http://127.0.0.1:4318/v1/traces').optional(),
      /** Which part of all requests. */
      sampleRatio: z.number().min(0).max(1).default(0.01),
    })
    .prefault({}),
  ...frontRulesShape,
}

/**
 * Everything that an operator can say of a gateway. One schema for file, environment and flags; `docs/operate-gateway.md`
 * lists it, and a test compares the two.
 */
export const gatewaySettingsSchema = z
  .strictObject(settingsShape)
  .refine(({ tls, domain }) => !tls.acme.enabled || domain !== undefined, {
    error: 'It needs a domain: no authority knows localhost',
    path: ['tls', 'acme', 'enabled'],
  })
  .refine(({ fleet, workers }) => fleet.hopPort + workers - 1 <= 65_535, {
    error: 'Each process takes the port after that of the one before; leave as many above it',
    path: ['fleet', 'hopPort'],
  })

/** A gateway's settings, every one with a value or knowingly without. */
export type GatewaySettings = z.output<typeof gatewaySettingsSchema>

/** What a setting looks like where all is text: in the environment. */
export type SettingKind = 'text' | 'number' | 'boolean' | 'list'

/** A setting by its place: `['chain', 'rpc']`. */
export interface SettingLeaf {
  readonly path: readonly string[]
  readonly kind: SettingKind
}

interface JsonSchema {
  readonly type?: string
  readonly properties?: Readonly<Record<string, JsonSchema>>
}

/** All settings, in the order of the schema. */
export const settingLeaves: readonly SettingLeaf[] = leavesOf(
  z.toJSONSchema(gatewaySettingsSchema, { io: 'input', unrepresentable: 'any' }) as JsonSchema,
  [],
)

function leavesOf({ type, properties }: JsonSchema, path: readonly string[]): SettingLeaf[] {
  if (properties) {
    return Object.entries(properties).flatMap(([name, schema]) => leavesOf(schema, [...path, name]))
  }
  if (type === 'integer' || type === 'number') return [{ path, kind: 'number' }]
  if (type === 'boolean') return [{ path, kind: 'boolean' }]
  return [{ path, kind: type === 'array' ? 'list' : 'text' }]
}
