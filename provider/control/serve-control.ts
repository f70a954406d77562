import { chmod, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { z } from 'zod'
import { utf8 } from '../../protocol/base/bytes.ts'
import type { Log } from '../../protocol/base/log.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import { problemResponse } from '../../protocol/http/problem-response.ts'
import { limits } from '../../protocol/limits.ts'
import { describeIssues, usdcSchema } from '../../protocol/schema.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import type { Places } from '../admission/places.ts'
import type { LedgerHistory } from '../ledger/ledger.ts'
import type { LedgerIdentity } from '../ledger/records.ts'
import { policyChangeSchema } from '../policy/change-policy.ts'
import type { Rules } from '../policy/rules.ts'
import type { Proofs } from '../settlement/prove-collected.ts'
import { acceptSchema, disputeToJson } from './disputes.ts'
import { historyOrderSchema, readHistory } from './history-orders.ts'
import { type ProviderStatus, statusToJson } from './status.ts'

/** What the operator of a running provider may change, which is kept for its next start, and read. */
export interface ProviderControl {
  readonly identity: LedgerIdentity
  readonly history: LedgerHistory
  readonly rules: Rules
  readonly places: Pick<Places, 'status'>
  readonly proofs: Pick<Proofs, 'disputes' | 'accept'>
  status(): ProviderStatus
  /** @returns the price before */
  setPrice(priceUsdc: Usdc): Promise<Usdc>
  /** Seals with another key from now on. */
  rotateKey(signal: AbortSignal): Promise<{
    readonly kid: string
    readonly retiredKid: string
    readonly done: readonly string[]
  }>
  /** Lets callers come to another address, or through another gateway. @returns the labels of the transactions */
  setEndpoint(endpoint: string, signal: AbortSignal): Promise<readonly string[]>
}

/**
 * The socket in a provider's directory; undefined where its path is longer than systems take. Whoever may open it could
 * read the keys beside it as well.
 */
export function controlSocket(dir: string): string | undefined {
  const path = join(dir, 'control.sock')
  return Buffer.byteLength(path) <= limits.socketPathBytesMax ? path : undefined
}

const schemas = {
  price: z.strictObject({ priceUsdc: usdcSchema }),
  endpoint: z.strictObject({ endpoint: z.string().min(1).max(limits.serverUrlBytesMax) }),
}

/** Takes orders, one after the other, from the machine's own command line until it is disposed. */
export async function serveControl(
  { control, log }: { control: ProviderControl; log: Log },
  dir: string,
): Promise<AsyncDisposable> {
  const path = controlSocket(dir)
  if (path === undefined) {
    log.warn('control_unavailable', { dir, reason: 'the path is too long for a socket' })
    return { [Symbol.asyncDispose]: async () => {} }
  }
  const stopping = new AbortController()
  const server = createServer(
    getRequestListener(createControlApp({ control, log }, stopping.signal).fetch, {
      overrideGlobalObjects: false,
    }),
  )
  // One provider at a time works in a directory: a socket that is there is that of one that was killed.
  await rm(path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(path, resolve)
  })
  await chmod(path, 0o600)
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('The provider stops.'))
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function createControlApp(
  { control, log }: { control: ProviderControl; log: Log },
  signal: AbortSignal,
): Hono {
  const app = new Hono()
  let lane: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(order: () => Promise<T>): Promise<T> => {
    const done = lane.then(order)
    lane = done.catch(() => undefined)
    return done
  }
  // A list of what is denied may be long.
  const isPolicy = (path: string) => path.startsWith('/policy')
  const short = bodyLimit({ maxSize: limits.problemBytesMax })
  const long = bodyLimit({ maxSize: limits.policyOrderBytesMax })
  app.use((c, next) => (isPolicy(c.req.path) ? long : short)(c, next))

  app.post('/price', async (c) => {
    const { priceUsdc } = parseOrder(schemas.price, await c.req.text())
    const previousUsdc = await inTurn(() => control.setPrice(priceUsdc))
    log.info('price_changed', { from: previousUsdc.toString(), to: priceUsdc.toString() })
    return c.json({ priceUsdc: priceUsdc.toString(), previousUsdc: previousUsdc.toString() })
  })

  app.post('/rotate-key', async (c) => {
    const { kid, retiredKid, done } = await inTurn(() => control.rotateKey(signal))
    log.info('seal_key_rotated', { kid, retiredKid })
    return c.json({ kid, retiredKid, done })
  })

  app.post('/endpoint', async (c) => {
    const { endpoint } = parseOrder(schemas.endpoint, await c.req.text())
    const done = await inTurn(() => control.setEndpoint(endpoint, signal))
    log.info('endpoint_changed', { endpoint })
    return c.json({ endpoint, done })
  })

  const showPolicy = () => ({
    policy: control.rules.policy,
    pausedForFaults: control.rules.pausedForFaults(),
    places: control.places.status(),
  })
  app.post('/policy', (c) => c.json(showPolicy()))
  app.post('/policy-change', async (c) => {
    const change = parseOrder(policyChangeSchema, await c.req.text())
    await inTurn(() => control.rules.change(change))
    log.info('policy_changed', { kind: change.kind })
    return c.json(showPolicy())
  })
  app.post('/policy-reload', async (c) => {
    await inTurn(() => control.rules.reload())
    log.info('policy_changed', { kind: 'reload' })
    return c.json(showPolicy())
  })

  app.post('/disputes', (c) => c.json({ disputes: control.proofs.disputes().map(disputeToJson) }))
  app.post('/dispute-accept', async (c) => {
    const { upToUsdc, ...from } = parseOrder(acceptSchema, await c.req.text())
    return c.json(disputeToJson(control.proofs.accept(from, upToUsdc)))
  })

  app.post('/identity', (c) => {
    const { provider, market } = control.identity
    return c.json({ provider, ...market })
  })

  app.post('/status', (c) => c.json(statusToJson(control.status())))

  // Reading waits for no order, and no order for it.
  app.post('/history', async (c) =>
    c.json(await readHistory(control.history, parseOrder(historyOrderSchema, await c.req.text()))),
  )

  app.onError((thrown) => {
    const error = toProtocolError(thrown)
    if (error.code === 'internal') log.error('order_failed', { error: String(thrown) })
    return problemResponse(error)
  })
  return app
}

function parseOrder<T extends z.ZodType>(schema: T, text: string): z.output<T> {
  const parsed = schema.safeParse(parseJson(utf8.encode(text)))
  if (parsed.success) return parsed.data
  throw new ProtocolError('bad_request', `The order is malformed: ${describeIssues(parsed.error)}`, {
    hint: 'Use a command line of the same version as the provider.',
  })
}
