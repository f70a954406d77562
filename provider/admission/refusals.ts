import type { Address } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { formatUsdc, type Usdc } from '../../protocol/usdc.ts'

/** What a caller must know in order to pay. */
export interface PaymentFacts {
  readonly provider: Address
  /** The provider's name, for commands that can be pasted. */
  readonly name?: string
  readonly market: Market
  readonly priceUsdc: Usdc
  /** Whether an x402 payment would pay for this call, too. */
  readonly takesX402?: boolean
}

/** One way to pay for a call, as a member of the problem document. */
export interface PaymentWay {
  readonly way: 'pass' | 'voucher' | 'grant' | 'credits' | 'x402'
  /** What it means, for people. */
  readonly detail: string
  /** What to run, in order. */
  readonly commands: readonly string[]
  /** What the request then carries. */
  readonly header?: string
}

/** Nobody pays: the price, and every way to. */
export function paymentRequired(facts: PaymentFacts): ProtocolError {
  return withWaysToPay(
    new ProtocolError(
      'payment_required',
      `A call costs ${formatUsdc(facts.priceUsdc)} USDC, and its caller pays.`,
      { hint: 'Send a pass: -H "Authorization: Bearer kp1.…". The ways to get one are under "pay".' },
    ),
    facts,
  )
}

/** The same refusal with the price and every way to pay; refusals that are not about payment stay as they are. */
export function withWaysToPay(error: ProtocolError, facts: PaymentFacts): ProtocolError {
  if (error.status !== 402) return error
  const { provider, market, priceUsdc } = facts
  return new ProtocolError(error.code, error.message, {
    hint: error.hint,
    details: {
      price: priceUsdc.toString(),
      asset: 'USDC',
      provider,
      chainId: market.chainId,
      escrow: market.escrow,
      ...error.details,
      pay: waysToPay(facts),
    },
    cause: error.cause,
  })
}

/** The list that every 402 carries. */
export function waysToPay({
  name = '<provider>',
  priceUsdc,
  takesX402 = false,
}: PaymentFacts): readonly PaymentWay[] {
  const price = formatUsdc(priceUsdc)
  const approve = `khachapuri approve ${name} --price ${price} --budget <usdc>`
  return [
    {
      way: 'pass',
      detail:
        'Reserve a budget for this provider once, then make a pass that caps what its bearer may spend.',
      commands: [
        'khachapuri deposit <usdc>',
        approve,
        `khachapuri pass create --provider ${name} --max-price ${price} --max-spend <usdc>`,
      ],
      header: 'Authorization: Bearer kp1.…',
    },
    byVoucher(approve),
    {
      way: 'grant',
      detail: 'The owner of a deployment whose callers need not pay keeps a grant for this provider.',
      commands: ['khachapuri deposit <usdc>', approve],
    },
    byCredits(name),
    ...(takesX402 ? [byX402] : []),
  ]
}

const byVoucher = (approve: string): PaymentWay => ({
  way: 'voucher',
  detail:
    'Sign what you owe as you go, and no more than a window of calls ahead: for callers who trust nobody.',
  commands: [
    'khachapuri deposit <usdc>',
    `${approve} --signer <your address>`,
    'khachapuri call <url> --voucher',
  ],
  header: 'Khachapuri-Voucher: kv1.…',
})

const byCredits = (name: string): PaymentWay => ({
  way: 'credits',
  detail:
    'Trial calls, where the provider gave your account some ("khachapuri credits list"): a pass shows whose they are. A grant goes before them.',
  commands: [`khachapuri pass create --provider ${name} --max-price 0 --max-spend 0`],
  header: 'Authorization: Bearer kp1.…',
})

const byX402: PaymentWay = {
  way: 'x402',
  detail:
    'Pay this one call from a wallet, with any x402 client: the terms are in the header PAYMENT-REQUIRED.',
  commands: [],
  header: 'PAYMENT-SIGNATURE: …',
}
