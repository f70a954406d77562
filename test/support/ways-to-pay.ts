import type { Address, LocalAccount } from 'viem'
import type { Market } from '../../protocol/typed-data.ts'
import { parseUsdc, usdc } from '../../protocol/usdc.ts'
import { signVoucher, type Voucher } from '../../protocol/voucher.ts'
import { formatVoucherToken, signVoucherAccess, voucherHeader } from '../../protocol/voucher-token.ts'
import { type PaymentTerms, parsePaymentRequired, x402Headers } from '../../protocol/x402.ts'
import { type Costs, nothing, type TestMarket } from './market.ts'
import { createWallet, signPayment, walletOf } from './x402.ts'

export const wayNames = ['owner', 'pass', 'voucher', 'x402'] as const
export type WayName = (typeof wayNames)[number]

/** One of the ways to pay, with somebody who has the money for it. */
export interface WayToPay {
  readonly name: WayName
  /** What `deploy --payer` must say, for this way to be the one that pays. */
  readonly payerChoice: 'owner' | 'caller'
  /** Names and values that pay for one call. */
  headers(call: { readonly cid: string }): Promise<string[]>
  /** What is paid for one call that costs its price: out of the escrow, and out of the wallet. */
  readonly price: Money
}

/** What an act moved: from and to whom in the escrow, and out of the x402 payer's wallet into the provider's. */
export interface Money extends Costs {
  readonly wallets: readonly [bigint, bigint]
}

export const noMoney: Money = { ...nothing, wallets: [0n, 0n] }

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

/** Four payers of one provider that asks 500 base units: the developer, who owns what is called, and three callers. */
export async function openWaysToPay(
  at: TestMarket,
  { name, address }: { readonly name: string; readonly address: Address },
): Promise<WaysToPay> {
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
  })

  async function askTermsOf(cid: string): Promise<PaymentTerms> {
    const answer = await at.call({ provider: name, cid })
    const [found] = parsePaymentRequired(answer.header(x402Headers.required) ?? '')
    if (!found) throw new Error(`${answer.status} names no terms`)
    return found
  }

  const readWallets = () => Promise.all([walletOf(at.dev, wallet.address), walletOf(at.dev, address)])
  return {
    all: {
      owner: {
        name: 'owner',
        payerChoice: 'owner',
        headers: async () => [],
        price: fromEscrow('developer'),
      },
      pass: {
        name: 'pass',
        payerChoice: 'caller',
        headers: async () => [
          'authorization',
          `Bearer ${await at.pass({ payer: passPayer.address, providers: [address] }, passPayer)}`,
        ],
        price: fromEscrow('bearer'),
      },
      voucher: {
        name: 'voucher',
        payerChoice: 'caller',
        headers: async () => [voucherHeader, token],
        price: fromEscrow('signer'),
      },
      x402: {
        name: 'x402',
        payerChoice: 'caller',
        headers: async ({ cid }) => [x402Headers.signature, await signPayment(await askTermsOf(cid), wallet)],
        price: { ...nothing, wallets: [price, price] },
      },
    },
    async movedBy(act) {
      const [payerBefore, providerBefore] = await readWallets()
      const costs = await at.costsOf(act)
      const [payerAfter, providerAfter] = await readWallets()
      return { ...costs, wallets: [payerBefore - payerAfter, providerAfter - providerBefore] }
    },
  }
}
