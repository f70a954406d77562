import { type Address, type LocalAccount, type PublicClient, zeroAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { escrowCalls, usdcCalls } from '../../protocol/chain/calls.ts'
import { limits } from '../../protocol/limits.ts'
import { anyDeployment, signPass } from '../../protocol/pass.ts'
import { parseUsdc, usdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { formatVoucherToken, signVoucherAccess, voucherHeader } from '../../protocol/voucher-token.ts'
import { type OutageMarket, openOutageMarket } from '../support/outage.ts'
import { askTerms, createWallet, signPayment, type WalletChain, walletOf } from '../support/x402.ts'
import { type ClientBook, createBook, type Gate, runLane, runRepeatingLane } from './lanes.ts'
import type { ProviderOrder } from './provider-process.ts'

/** A few base units, so that a run of hours does not empty a grant. */
export const priceUsdc = usdc(7n)

/** A chain with a gateway, payers of every kind, and lanes of calls that they pay for. */
export interface CrashMarket extends WalletChain, AsyncDisposable {
  readonly rpcUrl: URL
  readonly dir: string
  readonly escrow: Address
  readonly provider: Address
  /** What the provider is told besides its directory, port, price and the way to the chain. */
  readonly order: Omit<ProviderOrder, 'dir' | 'rpcUrl' | 'price' | 'port'>
  /** Deploys the echo program twice: once its owner pays, once its callers do. */
  deploy(): Promise<Deployed>
  /** Resolves when all lanes have come to their end at the gate. */
  startLanes(gate: Gate, deployed: Deployed): Promise<unknown>
  readonly books: readonly ClientBook[]
  /** Of payers whose calls are repeated until they are answered. */
  readonly repeating: readonly ClientBook[]
  readonly granted: readonly { readonly way: string; readonly payer: Address; readonly signer: Address }[]
  /** Whose calls are trial calls, of which there are more than enough. */
  readonly trial: { readonly payer: Address }
  readonly wallet: { readonly payer: Address; readonly depositedUsdc: bigint }
  /** Resolves once the chain has taken all that was answered for x402 payments. */
  x402Settled(): Promise<void>
  summary(): {
    answered: Readonly<Record<string, number>>
    unknown: number
    refused: Readonly<Record<string, number>>
  }
}

/** Callable CIDs. */
export interface Deployed {
  readonly byOwner: string
  readonly byCaller: string
}

const signal = new AbortController().signal
export const laneCount = 10
const walletUsdc = parseUsdc('10')
const trialCalls = 10_000_000
const year = 365 * 24 * 3600

export async function openCrashMarket(): Promise<CrashMarket> {
  await using parts = new AsyncDisposableStack()
  const at = parts.use(await openOutageMarket())
  const gateway = parts.use(await at.startGateway())
  const { contracts } = at
  const market = { chainId: contracts.chainId, escrow: contracts.escrow }
  const provider = at.accounts.alice.account.address
  const owner = at.accounts.developer.account
  const [holder, keyed, voucherer] = [await createPayer(at), await createPayer(at), await createPayer(at)]
  await approve(at, holder, zeroAddress)
  await approve(at, keyed, zeroAddress)
  await approve(at, voucherer, voucherer.address)
  const wallet = await createWallet(at, walletUsdc)
  const guest = await createPayer(at)
  await at
    .senderOf(at.accounts.alice)
    .run(escrowCalls(contracts.escrow).grantCredits(guest.address, trialCalls), signal)

  const nowSeconds = Math.floor(Date.now() / 1000)
  const passOf = (payer: LocalAccount) =>
    signPass(
      {
        payer: payer.address,
        providers: [provider],
        deployment: anyDeployment,
        maxPricePerCall: usdc(1_000n),
        maxSpend: parseUsdc('10'),
        validAfter: nowSeconds - 60,
        validBefore: nowSeconds + year,
        id: `0x${'1d'.repeat(32)}`,
      },
      payer,
      market,
    )
  const bearer = async (payer: LocalAccount) => ({ authorization: `Bearer ${await passOf(payer)}` })
  const [holderHeaders, keyedHeaders] = [await bearer(holder), await bearer(keyed)]
  const trialHeaders = await bearer(guest)
  const voucher = {
    payer: voucherer.address,
    provider,
    maxAmount: parseUsdc('9'),
    maxCalls: 2 ** 31,
    epoch: 0,
  }
  const signature = await signVoucher(voucher, voucherer, market)
  const signed = { voucher, signer: voucherer.address, signature }
  const access = await signVoucherAccess(voucher, voucherer, market)
  const voucherHeaders = { [voucherHeader]: formatVoucherToken({ signed, access }) }

  const books = {
    owner: createBook('owner', owner.address),
    pass: createBook('pass', holder.address),
    key: createBook('key', keyed.address),
    voucher: createBook('voucher', voucherer.address),
    x402: createBook('x402', wallet.address),
    trial: createBook('trial', guest.address),
  }

  function startLanes(gate: Gate, deployed: Deployed): Promise<unknown> {
    const path = `/${deployed.byCaller}/answer?body=served`
    const free = { path: `/${deployed.byOwner}/answer?body=served`, headers: {} }
    const always = (headers: Readonly<Record<string, string>>) => async () => ({ path, headers })
    let keys = 0
    const withKey = async () => {
      keys += 1
      return { path, headers: { ...keyedHeaders, 'idempotency-key': `call-${keys}` } }
    }
    const withPayment = async (url: string) => {
      const terms = await askTerms(new URL(path, url))
      return { path, headers: { 'payment-signature': await signPayment(terms, wallet) } }
    }
    return Promise.all([
      runLane(gate, books.owner, async () => free),
      runLane(gate, books.owner, async () => free),
      runLane(gate, books.pass, always(holderHeaders)),
      runLane(gate, books.pass, always(holderHeaders)),
      runLane(gate, books.voucher, always(voucherHeaders)),
      runLane(gate, books.voucher, always(voucherHeaders)),
      runLane(gate, books.trial, always(trialHeaders)),
      runRepeatingLane(gate, books.key, withKey),
      runRepeatingLane(gate, books.key, withKey),
      runRepeatingLane(gate, books.x402, withPayment),
    ])
  }

  const owned = parts.move()
  return {
    ...at,
    rpcUrl: at.rpc.others.url,
    dir: at.user.dir,
    escrow: contracts.escrow,
    provider,
    order: {
      name: 'alice',
      privateKey: at.accounts.alice.privateKey,
      contracts,
      keeper: `http://127.0.0.1:${gateway.port}`,
      peers: gateway.info.peers,
    },
    async deploy() {
      const flags = ['--provider', 'alice', '--owner-per-day', 'none', '--payer']
      return { byOwner: await at.deploy(...flags, 'owner'), byCaller: await at.deploy(...flags, 'caller') }
    },
    startLanes,
    books: Object.values(books),
    repeating: [books.key, books.x402],
    granted: [
      { way: 'owner', payer: owner.address, signer: zeroAddress },
      { way: 'pass', payer: holder.address, signer: zeroAddress },
      { way: 'key', payer: keyed.address, signer: zeroAddress },
      { way: 'voucher', payer: voucherer.address, signer: voucherer.address },
    ],
    trial: { payer: guest.address },
    wallet: { payer: wallet.address, depositedUsdc: walletUsdc },
    async x402Settled() {
      const owedUsdc = BigInt(books.x402.answered.size) * priceUsdc
      const stop = AbortSignal.timeout(limits.shutdownTimeoutMs)
      while (walletUsdc - (await walletOf(at, wallet.address)) < owedUsdc) stop.throwIfAborted()
    },
    summary() {
      const refused: Record<string, number> = {}
      for (const book of Object.values(books))
        for (const [code, times] of book.refused) refused[code] = (refused[code] ?? 0) + times
      return {
        answered: Object.fromEntries(Object.entries(books).map(([way, book]) => [way, book.answered.size])),
        unknown: Object.values(books).reduce((sum, { unknown }) => sum + unknown, 0),
        refused,
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }

  async function approve(m: OutageMarket, payer: LocalAccount, signer: Address): Promise<void> {
    const terms = {
      provider,
      signer,
      priceUsdc: usdc(1_000n),
      budgetUsdc: parseUsdc('10'),
      expiry: nowExpiry(),
      noticeHours: 48,
    }
    await senderOf(m, payer).run(escrowCalls(m.contracts.escrow).approve(terms), signal)
  }
}

const nowExpiry = () => Math.floor(Date.now() / 1000) + year

const senderOf = (at: OutageMarket, account: LocalAccount) => at.senderOf({ account, privateKey: '0x' })

/** Somebody with 10 USDC in the escrow. */
async function createPayer(at: OutageMarket): Promise<LocalAccount> {
  const account = privateKeyToAccount(generatePrivateKey())
  const client: PublicClient = at.client
  const params = [account.address, `0x${(10n ** 21n).toString(16)}`]
  await client.request({ method: 'hardhat_setBalance', params } as never)
  const sender = senderOf(at, account)
  const { usdc: token, escrow } = at.contracts
  const amountUsdc = parseUsdc('10')
  await sender.run(usdcCalls(token).mint(account.address, amountUsdc), signal)
  await sender.run(usdcCalls(token).approve(escrow, amountUsdc), signal)
  await sender.run(escrowCalls(escrow).deposit(amountUsdc), signal)
  return account
}
