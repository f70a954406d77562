import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import type { Hex } from 'viem'
import { assert } from '../protocol/base/assert.ts'
import { readBounded, toHex } from '../protocol/base/bytes.ts'
import type { Clock } from '../protocol/base/clock.ts'
import { callHeaders } from '../protocol/call.ts'
import { readBalance } from '../protocol/chain/escrow.ts'
import { ProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import { anyDeployment, signPass } from '../protocol/pass.ts'
import { parseUsdc, type Usdc } from '../protocol/usdc.ts'
import type { DeployedExample } from './examples.ts'
import type { DevMarket } from './market.ts'

/** One paid call and what became of it. */
export interface Demonstration {
  readonly provider: 'alice' | 'bob'
  readonly paidBy: string
  readonly answer: string
  /** The provider's earnings on chain once the call was settled. */
  readonly earnedUsdc: Usdc
}

const input = '{"num":600}'
const expected = '2,2,2,3,5,5'

/**
 * Makes a paid call to each provider through the gateway, alice's paid by the deployment's owner and bob's by a pass, and
 * waits until both are settled on chain.
 */
export async function demonstrate(
  market: DevMarket,
  factor: DeployedExample,
  clock: Clock,
  signal: AbortSignal,
): Promise<readonly Demonstration[]> {
  const authorization = `Bearer ${await createPass(market, clock)}`
  const calls = [
    { provider: 'alice', payer: 'developer', paidBy: 'the owner of the deployment', headers: {} },
    { provider: 'bob', payer: 'payer', paidBy: 'a pass of the caller', headers: { authorization } },
  ] as const
  const path = `/${factor.cid}/`
  return Promise.all(
    calls.map(async ({ provider, payer, paidBy, headers }) => {
      const call = await send(market, { method: 'POST', provider, path, headers, body: input }, signal)
      if (call.status !== 200 || call.body !== expected) throw wrongAnswer(provider, call)
      await checkPayer(market, { provider, callId: call.callId, payer }, signal)
      const earnedUsdc = await waitForSettlement(market, provider, clock, signal)
      return { provider, paidBy, answer: call.body, earnedUsdc }
    }),
  )
}

/** Asks the receipt who paid: a demonstration should not claim more than it showed. */
async function checkPayer(
  market: DevMarket,
  { provider, callId, payer }: { provider: string; callId: string; payer: 'developer' | 'payer' },
  signal: AbortSignal,
): Promise<void> {
  const path = `/_/receipts/${callId}`
  const answer = await send(market, { method: 'GET', provider, path, headers: {}, body: '' }, signal)
  const receipt = JSON.parse(answer.body) as { payer?: string }
  if (receipt.payer !== market.accounts[payer].account.address) throw wrongAnswer(provider, answer)
}

function createPass({ accounts, contracts, providers }: DevMarket, clock: Clock): Promise<string> {
  const { account } = accounts.payer
  const nowSeconds = Math.floor(clock.nowMs() / 1000)
  return signPass(
    {
      payer: account.address,
      providers: [providers.alice.address, providers.bob.address],
      deployment: anyDeployment,
      maxPricePerCall: parseUsdc('0.001'),
      maxSpend: parseUsdc('0.01'),
      validAfter: nowSeconds - 60,
      validBefore: nowSeconds + 600,
      id: toHex(randomBytes(32)) as Hex,
    },
    account,
    contracts,
  )
}

/** Settled means: the chain says that the provider has earned something. */
async function waitForSettlement(
  { client, contracts, providers }: DevMarket,
  provider: 'alice' | 'bob',
  clock: Clock,
  signal: AbortSignal,
): Promise<Usdc> {
  const account = providers[provider].address
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.shutdownTimeoutMs)])
  for (;;) {
    const earnedUsdc = await readBalance(client, { escrow: contracts.escrow, account }, deadline)
    if (earnedUsdc > 0n) return earnedUsdc
    await clock.sleep(100, deadline)
  }
}

interface Call {
  readonly method: 'GET' | 'POST'
  readonly provider: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

interface Answer {
  readonly status: number
  readonly body: string
  readonly callId: string
}

/** Node does not look up subdomains of localhost by itself, so the gateway is dialled by address, as curl does. */
function send(
  { gateway }: DevMarket,
  { method, provider, path, headers, body }: Call,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: gateway.host,
        port: gateway.port,
        method,
        path,
        headers: { host: `${provider}.${gateway.domain}`, 'content-type': 'application/json', ...headers },
        signal,
      },
      (response) => {
        readBounded(response, limits.problemBytesMax).then((bytes) => {
          assert(bytes, 'the answer is short')
          const callId = String(response.headers[callHeaders.call] ?? '')
          resolve({ status: response.statusCode ?? 0, body: Buffer.from(bytes).toString('utf8'), callId })
        }, reject)
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

function wrongAnswer(provider: string, { status, body }: Answer): ProtocolError {
  return new ProtocolError('internal', `${provider} answered ${status}: ${body.slice(0, 500)}`, {
    hint: 'Run "npm start -- --verbose" to see the log.',
  })
}
