import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { callHeaders } from '../../protocol/call.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import type { DeployedExample } from '../examples.ts'
import type { DevMarket } from '../market.ts'
import { createGatewayFetch } from './gateway-fetch.ts'
import { byOwner, byPass, byVoucher, byX402, type Way } from './ways.ts'

/** One paid call and what became of it. */
export interface Demonstration {
  readonly provider: 'alice' | 'bob'
  readonly paidBy: string
  readonly answer: string
  /** What the chain says that was paid in this way, once the call was settled. */
  readonly settledUsdc: Usdc
}

export interface DemonstrationDeps {
  readonly clock: Clock
  readonly log: Log
}

const input = '{"num":600}'
const expected = '2,2,2,3,5,5'

/** Calls `factor` through the gateway once for each way to pay, and waits until all calls are settled on chain. */
export async function demonstrate(
  deps: DemonstrationDeps,
  market: DevMarket,
  deployed: readonly DeployedExample[],
  signal: AbortSignal,
): Promise<readonly Demonstration[]> {
  const fetch = createGatewayFetch(market, signal)
  const wayDeps = { ...deps, market, fetch }
  const ways = [
    byOwner(wayDeps, signal),
    await byPass(wayDeps, signal),
    await byVoucher(wayDeps, signal),
    byX402(wayDeps, signal),
  ]
  return Promise.all(ways.map((way) => demonstrateOne(way)))

  async function demonstrateOne(way: Way): Promise<Demonstration> {
    const { provider, paidBy, example } = way
    const cid = deployed.find(({ name }) => name === example)?.cid
    const urlOf = (path: string) => new URL(path, `http://${provider}.${market.gateway.domain}`)
    const headers = { 'content-type': 'application/json' }
    const request = new Request(urlOf(`/${cid}/`), { method: 'POST', headers, body: input })
    const call = await way.send(request)
    const answer = await call.clone().text()
    if (call.status !== 200 || answer !== expected) throw wrongAnswer(way, call.status, answer)
    const receipt = await fetch(urlOf(`/_/receipts/${call.headers.get(callHeaders.call)}`))
    await checkReceipt(way, receipt)
    return { provider, paidBy, answer, settledUsdc: await waitUntilPaid(way, call) }
  }

  /** Asks the receipt who paid: a demonstration should not claim more than it showed. */
  async function checkReceipt(way: Way, receipt: Response): Promise<void> {
    const text = await receipt.text()
    const { payer } = JSON.parse(text) as { payer?: string }
    if (payer !== market.accounts[way.payer].account.address) throw wrongAnswer(way, receipt.status, text)
  }

  async function waitUntilPaid(way: Way, call: Response): Promise<Usdc> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.shutdownTimeoutMs)])
    for (;;) {
      const paidUsdc = await way.readPaidUsdc(call)
      if (paidUsdc > 0n) return paidUsdc
      await deps.clock.sleep(100, deadline)
    }
  }
}

function wrongAnswer({ provider, paidBy }: Way, status: number, body: string): ProtocolError {
  const detail = `${provider} answered ${status} to a call that was paid by ${paidBy}: ${body.slice(0, 500)}`
  return new ProtocolError('internal', detail, { hint: 'Run "npm start -- --verbose" to see the log.' })
}
