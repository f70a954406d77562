import { Hono } from 'hono'
import { accepts } from 'hono/accepts'
import type { Hex } from 'viem'
import type { Log } from '../../protocol/base/log.ts'
import { callHeaders } from '../../protocol/call.ts'
import { ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import { problemResponse } from '../../protocol/http/problem-response.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProviderInfo } from '../../protocol/provider.ts'
import type { ShownRoot } from '../../protocol/published-root.ts'
import { type Receipt, receiptToJson } from '../../protocol/receipt.ts'
import type { Deployments } from '../deployments/deployments.ts'
import { describeDeployment } from '../deployments/describe.ts'
import { type Fault, wrongId } from '../faults.ts'
import type { Rules } from '../policy/rules.ts'
import { calledOrigin } from './called-origin.ts'
import { providerPage } from './provider-page.ts'

export interface PagesDeps {
  readonly log: Log
  readonly info: () => ProviderInfo
  readonly deployments: Deployments
  readonly rules: Pick<Rules, 'limitsOf' | 'refusalOf'>
  readonly readReceipt: (callId: Hex) => Promise<Receipt | undefined>
  readonly readSignedReceipt: (callId: Hex) => Promise<string | undefined>
  readonly readShownRoot: (callId: Hex) => Promise<ShownRoot | undefined>
  /** The keeper's routes, `/ipfs/…`. */
  readonly keeper: Hono
  /** Who it is and that it is alive. */
  readonly presence: Hono
  /** What payers may ask of their accounts. */
  readonly account: Hono
  /** What owners may read of their deployments. */
  readonly logs: Hono
  /** What recorded calls were asked with. */
  readonly records: Hono
  readonly fault?: Fault
}

/** The provider's own pages: everything but calls. None of them costs anything. */
export function createPages({
  log,
  info,
  deployments,
  rules,
  readReceipt,
  readSignedReceipt,
  readShownRoot,
  keeper,
  presence,
  account,
  logs,
  records,
  fault,
}: PagesDeps): Hono {
  const app = new Hono()

  app.get('/healthz', (c) => c.text('ok\n'))

  app.get('/', (c) => {
    const type = accepts(c, {
      header: 'Accept',
      supports: ['application/json', 'text/html'],
      default: 'application/json',
    })
    const origin = calledOrigin(c.req.header())
    if (type === 'text/html') return c.html(providerPage({ info: info(), origin }))
    return c.json({ ...infoToJson(info()), call: `${origin}/<cid>/`, info: '/_/info' })
  })

  app.get('/_/info', (c) => c.json(infoToJson(info())))

  app.get('/_/d/:cid{[^/]+}', async (c) => {
    const deployment = await deployments.read(c.req.param('cid'), c.req.raw.signal)
    const facts = {
      info: info(),
      limits: rules.limitsOf(deployment.spec),
      refusal: rules.refusalOf(deployment),
    }
    const described = describeDeployment(deployment, facts)
    return c.json(fault === 'wrong-id' ? { ...described, programId: wrongId } : described)
  })

  app.get('/_/receipts/:call', async (c) => {
    const callId = c.req.param('call')
    const receipt = /^0x[0-9a-f]{64}$/.test(callId) ? await readReceipt(callId as Hex) : undefined
    if (!receipt) throw noReceipt()
    // Absent where the receipt is older than signatures are.
    const signed = await readSignedReceipt(receipt.callId)
    if (signed) c.header(callHeaders.receipt, signed)
    return c.json({ ...receiptToJson(receipt), ...(signed && { signed }) })
  })

  let rootsRead = 0
  app.get('/_/receipts/:call/root', async (c) => {
    const callId = c.req.param('call')
    if (!/^0x[0-9a-f]{64}$/.test(callId)) throw noReceipt()
    // Each may hash all receipts of a settlement.
    if (rootsRead >= limits.proofPagesAtOnceMax) throw busyWithRoots()
    rootsRead += 1
    try {
      const shown = await readShownRoot(callId as Hex)
      if (!shown) throw noReceipt()
      return c.json(shown)
    } finally {
      rootsRead -= 1
    }
  })

  app.route('/', presence)
  app.route('/', account)
  app.route('/', logs)
  app.route('/', records)
  app.route('/', keeper)

  app.notFound(() => {
    throw new ProtocolError('not_found', 'There is no such page.', {
      hint: 'Programs answer at /<cid>/…; /_/info says what this provider offers.',
    })
  })

  app.onError((thrown, c) => {
    const error = toProtocolError(thrown)
    if (error.code === 'internal') log.error('page_failed', { path: c.req.path, error: String(thrown) })
    return problemResponse(error)
  })

  return app
}

const noReceipt = () =>
  new ProtocolError('not_found', 'There is no receipt of such a call here.', {
    hint: 'Take the id from the Khachapuri-Call header of an answer of this provider.',
  })

const busyWithRoots = () =>
  new ProtocolError('too_many_requests', 'Others are shown proofs of their calls just now.', {
    hint: 'Send it again in 1 s.',
    details: { retryAfterSeconds: 1 },
  })

function infoToJson({ price, ...info }: ProviderInfo): Record<string, unknown> {
  return { ...info, price: price.toString() }
}
