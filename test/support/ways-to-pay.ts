import type { Address, LocalAccount } from 'viem'
import { createSender } from '../../devnet/contracts.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { escrowCalls } from '../../protocol/chain/calls.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { parseUsdc, usdc } from '../../protocol/usdc.ts'
import { signVoucher, type Voucher } from '../../protocol/voucher.ts'
import { formatVoucherToken, signVoucherAccess, voucherHeader } from '../../protocol/voucher-token.ts'
import { type PaymentTerms, parsePaymentRequired, x402Headers } from '../../protocol/x402.ts'
import { type Costs, nothing, type TestMarket } from './market.ts'
import { createWallet, signPayment, walletOf } from './x402.ts'

/** A trial call is paid with one of the credits that its provider gave. */
export const wayNames = ['owner', 'pass', 'voucher', 'x402', 'trial'] as const
export type WayName = (typeof wayNames)[number]

/** One of the ways to pay, with somebody who has the money for it. */
export interface WayToPay {
  readonly name: WayName
  /** What `deploy --payer` must say, for this way to be the one that pays. */
  readonly payerChoice: 'owner' | 'caller'
  /** Names and values that pay for one call. */
  headers(call: { readonly cid: string }): Promise<string[]>
  /** What is paid for one call that costs its price: out of the escrow, out of the wallet, or of the credits. */
  readonly price: Money
  /** The same as the call's receipt has it: trial calls cost nothing. */
  readonly receiptPrice: '500' | '0'
}

/** What an act moved: from and to whom in the escrow, and out of the x402 payer's wallet into the provider's. */
export interface Money extends Costs {
  readonly wallets: readonly [bigint, bigint]
  /** Credits that the chain counts as used. */
  readonly credits: bigint
}

export const noMoney: Money = { ...nothing, wallets: [0n, 0n], credits: 0n }

/** What all of these move together. */
export function sumMoney(moved: readonly Money[]): Money {
  const add = (a: Readonly<Record<string, bigint>>, b: Readonly<Record<string, bigint>>) => {
    const names = new Set([...Object.keys(a), ...Object.keys(b)])
    return Object.fromEntries([...names].map((name) => [name, (a[name] ?? 0n) + (b[name] ?? 0n)]))
  }
  return moved.reduce(
    (sum, one) => ({
      paid: add(sum.paid, one.paid),
      earned: add(sum.earned, one.earned),
      wallets: [sum.wallets[0] + one.wallets[0], sum.wallets[1] + one.wallets[1]],
      credits: sum.credits + one.credits,
    }),
    noMoney,
  )
}

export interface WaysToPay {
  readonly all: Readonly<Record<WayName, WayToPay>>
  /** By the balances on chain, once all is settled. */
  movedBy(act: () => Promise<unknown>): Promise<Money>
}

/** The header's value of a voucher that its payer signs itself. */
export async function signVoucherToken(
  voucher: Voucher,
  payer: LocalAccount,
  market: Market,
): Promise<string> {
  const signature = await signVoucher(voucher, payer, market)
  return formatVoucherToken({
    signed: { voucher, signer: payer.address, signature },
    access: await signVoucherAccess(voucher, payer, market),
  })
}

/** Five payers of one provider that asks 500 base units: the developer, who owns what is called, and four callers. */
export async function openWaysToPay(
  at: TestMarket,
  { name, account }: { readonly name: string; readonly account: LocalAccount },
): Promise<WaysToPay> {
  const { address } = account
  const price = 500n
  const terms = { priceUsdc: parseUsdc('0.001'), budgetUsdc: parseUsdc('1') }
  const { account: passPayer } = await at.createPayer({
    name: 'bearer',
    grants: [{ provider: address, ...terms }],
  })
  const { account: voucherPayer } = await at.createPayer({
    name: 'signer',
    grants: [{ provider: address, ...terms, signer: 'payer' }],
  })
  const wallet = await createWallet(at.dev)
  const { account: guest } = await at.createPayer({ name: 'guest', depositedUsdc: usdc(1n) })
  await giveCredits(at, account, guest.address)
  const voucher: Voucher = {
    payer: voucherPayer.address,
    provider: address,
    maxAmount: usdc(1_000n * price),
    maxCalls: 1_000,
    epoch: 0,
  }
  const token = await signVoucherToken(voucher, voucherPayer, at.market)
  const fromEscrow = (payer: string): Money => ({
    paid: { [payer]: price },
    earned: { [name]: price },
    wallets: [0n, 0n],
    credits: 0n,
  })

  async function askTermsOf(cid: string): Promise<PaymentTerms> {
    const answer = await at.call({ provider: name, cid })
    const [found] = parsePaymentRequired(answer.header(x402Headers.required) ?? '')
    if (!found) throw new Error(`${answer.status} names no terms`)
    return found
  }

  const readUsed = async () => {
    const request = { address: at.dev.contracts.escrow, abi: escrowAbi, functionName: 'creditsOf' } as const
    return (await at.dev.client.readContract({ ...request, args: [address, guest.address] })).used
  }
  const readWallets = () => Promise.all([walletOf(at.dev, wallet.address), walletOf(at.dev, address)])
  return {
    all: {
      owner: {
        name: 'owner',
        payerChoice: 'owner',
        headers: async () => [],
        price: fromEscrow('developer'),
        receiptPrice: '500',
      },
      pass: {
        name: 'pass',
        payerChoice: 'caller',
        headers: async () => [
          'authorization',
          `Bearer ${await at.pass({ payer: passPayer.address, providers: [address] }, passPayer)}`,
        ],
        price: fromEscrow('bearer'),
        receiptPrice: '500',
      },
      voucher: {
        name: 'voucher',
        payerChoice: 'caller',
        headers: async () => [voucherHeader, token],
        price: fromEscrow('signer'),
        receiptPrice: '500',
      },
      x402: {
        name: 'x402',
        payerChoice: 'caller',
        headers: async ({ cid }) => [x402Headers.signature, await signPayment(await askTermsOf(cid), wallet)],
        price: { ...noMoney, wallets: [price, price] },
        receiptPrice: '500',
      },
      trial: {
        name: 'trial',
        payerChoice: 'caller',
        // What it may spend is nothing: it only says who calls.
        headers: async () => [
          'authorization',
          `Bearer ${await at.pass({ payer: guest.address, providers: [address], maxSpend: usdc(0n) }, guest)}`,
        ],
        price: { ...noMoney, credits: 1n },
        receiptPrice: '0',
      },
    },
    async movedBy(act) {
      await at.settle()
      const [[payerBefore, providerBefore], usedBefore] = await Promise.all([readWallets(), readUsed()])
      const costs = await at.costsOf(act)
      const [[payerAfter, providerAfter], usedAfter] = await Promise.all([readWallets(), readUsed()])
      return {
        ...costs,
        wallets: [payerBefore - payerAfter, providerAfter - providerBefore],
        credits: usedAfter - usedBefore,
      }
    },
  }
}

async function giveCredits(at: TestMarket, provider: LocalAccount, user: Address): Promise<void> {
  const { client, contracts } = at.dev
  const deps = { client, clock: systemClock, log: createTestLog() }
  const sender = createSender(deps, provider, contracts.chainId)
  await sender.run(escrowCalls(contracts.escrow).grantCredits(user, 1_000), new AbortController().signal)
  await at.syncGrants()
}
