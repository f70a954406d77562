import { randomBytes } from 'node:crypto'
import { ExactEvmScheme } from '@x402/evm'
import { wrapFetchWithPayment, x402Client } from '@x402/fetch'
import type { Hex } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { escrowCalls } from '../../protocol/chain/calls.ts'
import { readGrant } from '../../protocol/chain/escrow.ts'
import { parseProblem } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { anyDeployment, signPass } from '../../protocol/pass.ts'
import { parseUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { openTab } from '../../protocol/voucher-client.ts'
import { createMemoryTab, createVoucherSession, readCallEnd } from '../../protocol/voucher-session.ts'
import { signVoucherAccess, voucherHeader } from '../../protocol/voucher-token.ts'
import { parsePaymentResult, x402Headers } from '../../protocol/x402.ts'
import { createSender } from '../contracts.ts'
import type { ExampleName } from '../examples.ts'
import type { DevMarket, Role } from '../market.ts'

/** One way to pay for a call, as a caller goes it. */
export interface Way {
  readonly provider: 'alice' | 'bob'
  readonly payer: Role
  readonly example: ExampleName
  /** For people, after "paid by". */
  readonly paidBy: string
  /** Makes the call, and pays. */
  send(request: Request): Promise<Response>
  /** What the chain says that was paid this way so far. */
  readPaidUsdc(answer: Response): Promise<Usdc>
}

export interface WayDeps {
  readonly market: DevMarket
  readonly clock: Clock
  readonly log: Log
  readonly fetch: typeof fetch
}

/** The deployment's owner pays, for callers who bring nothing. */
export function byOwner({ market, fetch }: WayDeps, signal: AbortSignal): Way {
  return {
    provider: 'alice',
    payer: 'developer',
    example: 'factor',
    paidBy: 'the owner of the deployment',
    send: fetch,
    readPaidUsdc: () => readSpent(market, { payer: 'developer', provider: 'alice' }, signal),
  }
}

/** The caller brings a pass: one header, good for any number of calls until its cap. */
export async function byPass({ market, clock, fetch }: WayDeps, signal: AbortSignal): Promise<Way> {
  const { accounts, contracts, providers } = market
  const { account } = accounts.payer
  const nowSeconds = Math.floor(clock.nowMs() / 1000)
  const pass = {
    payer: account.address,
    providers: [providers.alice.address, providers.bob.address],
    deployment: anyDeployment,
    maxPricePerCall: parseUsdc('0.001'),
    maxSpend: parseUsdc('0.01'),
    validAfter: nowSeconds - 60,
    validBefore: nowSeconds + 600,
    id: toHex(randomBytes(32)) as Hex,
  }
  const authorization = `Bearer ${await signPass(pass, account, contracts)}`
  return {
    provider: 'bob',
    payer: 'payer',
    example: 'paid-factor',
    paidBy: 'a pass of the caller',
    send: (request) => fetch(request, { headers: { ...Object.fromEntries(request.headers), authorization } }),
    readPaidUsdc: () => readSpent(market, { payer: 'payer', provider: 'bob' }, signal),
  }
}

/** The caller trusts nobody, and signs what it owes as it goes. */
export async function byVoucher({ market, clock, log, fetch }: WayDeps, signal: AbortSignal): Promise<Way> {
  const { accounts, contracts, providers, client } = market
  const { account } = accounts.payer
  const key = { payer: account.address, provider: providers.alice.address, signer: account.address }
  await approveVouchers({ market, clock, log }, key, signal)
  const readOwnGrant = () => readGrant(client, contracts.escrow, key, signal)
  const grant = await readOwnGrant()
  const session = createVoucherSession(
    {
      clock,
      store: createMemoryTab(openTab(grant ?? { ...key, epoch: 0, spentUsdc: zeroUsdc, calls: 0 })),
      sign: (voucher) => signVoucher(voucher, account, contracts),
      signAccess: (scope) => signVoucherAccess(scope, account, contracts),
      readGrant: readOwnGrant,
    },
    { market: contracts, rules: { windowCalls: 1 } },
  )
  return {
    provider: 'alice',
    payer: 'payer',
    example: 'paid-factor',
    paidBy: 'a voucher, which covers this call and no more',
    send: (request) =>
      session.call(providers.alice.info.price, async (token) => {
        const headers = { ...Object.fromEntries(request.headers), [voucherHeader]: token }
        const answer = await fetch(request.clone() as Request, { headers })
        const problem = answer.ok ? undefined : parseProblem(await answer.clone().json())
        const header = (name: string) => answer.headers.get(name) ?? undefined
        return { ...readCallEnd({ status: answer.status, header, problem }), value: answer }
      }),
    readPaidUsdc: () => readSpent(market, { payer: 'payer', provider: 'alice', signer: 'payer' }, signal),
  }
}

/** Any x402 client pays a call from its wallet, without an account here: this is x402's own, as it is. */
export function byX402({ market, fetch }: WayDeps, signal: AbortSignal): Way {
  const { account } = market.accounts.payer
  const client = new x402Client()
    // It cannot know the token of a development chain.
    .setSpendControls({ allowedAssets: true })
    .register('eip155:*', new ExactEvmScheme(account))
  return {
    provider: 'bob',
    payer: 'payer',
    example: 'paid-factor',
    paidBy: 'x402 from a wallet',
    send: wrapFetchWithPayment(fetch, client),
    async readPaidUsdc(answer) {
      const result = parsePaymentResult(answer.headers.get(x402Headers.response) ?? '')
      if (!result.success || !result.transaction) return zeroUsdc
      const { status } = await market.client.waitForTransactionReceipt({
        hash: result.transaction,
        timeout: limits.shutdownTimeoutMs,
      })
      signal.throwIfAborted()
      return status === 'success' ? market.providers.bob.info.price : zeroUsdc
    },
  }
}

/** A grant of its own for vouchers; the provider knows of it when this resolves. */
async function approveVouchers(
  { market, clock, log }: Omit<WayDeps, 'fetch'>,
  { provider, signer }: { readonly provider: Hex; readonly signer: Hex },
  signal: AbortSignal,
): Promise<void> {
  const { accounts, contracts, client, providers } = market
  const sender = createSender({ client, clock, log }, accounts.payer.account, contracts.chainId)
  const terms = {
    provider,
    signer,
    priceUsdc: parseUsdc('0.001'),
    budgetUsdc: parseUsdc('1'),
    expiry: Math.floor(clock.nowMs() / 1000) + grantSeconds,
    noticeHours: 48,
  }
  const { blockNumber } = await sender.run(escrowCalls(contracts.escrow).approve(terms), signal)
  while (providers.alice.chainStatus().blockNumber < blockNumber) await clock.sleep(20, signal)
}

const grantSeconds = 365 * 24 * 3600

async function readSpent(
  { client, contracts, accounts, providers }: DevMarket,
  grant: { readonly payer: Role; readonly provider: 'alice' | 'bob'; readonly signer?: Role },
  signal: AbortSignal,
): Promise<Usdc> {
  const key = {
    payer: accounts[grant.payer].account.address,
    provider: providers[grant.provider].address,
    ...(grant.signer && { signer: accounts[grant.signer].account.address }),
  }
  return (await readGrant(client, contracts.escrow, key, signal))?.spentUsdc ?? zeroUsdc
}
