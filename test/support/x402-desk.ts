import { type Address, encodeDeployData, type Hex, type LocalAccount, type PublicClient } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { createTestClock, type TestClock } from '../../protocol/base/clock.ts'
import { createTestLog, type TestLog } from '../../protocol/base/log.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { devUsdcAbi } from '../../protocol/chain/contracts.ts'
import { createTransactionSender } from '../../protocol/chain/transaction-sender.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { usdc } from '../../protocol/usdc.ts'
import type { PaymentTerms } from '../../protocol/x402.ts'
import { type Ledger, openLedger } from '../../provider/ledger/ledger.ts'
import type { StoredAnswer } from '../../provider/ledger/records.ts'
import type { Charged, ReservedPayment } from '../../provider/x402/payment-desk.ts'
import { openX402, type X402 } from '../../provider/x402/x402.ts'
import { openTestChain, type TestChain } from './chain.ts'
import { claimOf, createTempDir, deployment, never, randomHex, receiptOf } from './money.ts'
import { openRpcProxy, type RpcHooks, type RpcProxy } from './rpc-proxy.ts'
import { cutSignature, type PaymentChanges, signCancellation, signPayment } from './x402.ts'

export const price = 500n

/** The part of a provider that takes x402 payments, on a real chain and a real ledger; its program is left out. */
export interface TestDesk extends AsyncDisposable {
  readonly chain: TestChain
  /** Counts what the provider asks of the chain. */
  readonly rpc: RpcProxy
  readonly clock: TestClock
  readonly log: TestLog
  readonly provider: Address
  readonly terms: PaymentTerms
  /** An account with so much in its wallet. */
  createWallet(amountUsdc?: bigint): Promise<LocalAccount>
  mint(account: Address, amountUsdc: bigint): Promise<void>
  walletOf(account: Address): Promise<bigint>
  /** Takes a payment back, by its payer's signature; anybody may bring that to the chain. */
  cancel(payer: LocalAccount, nonce: Hex): Promise<void>
  /** As one process of the provider has it. */
  start(): Promise<DeskProcess>
  /** Which block counts as safe; the newest by default. */
  setSafeBlock(blockNumber: bigint | 'newest'): void
}

export interface DeskProcess extends AsyncDisposable {
  readonly ledger: Ledger
  readonly x402: X402
  /** Everything before the program. */
  reserve(header: string, call?: TestCall): Promise<ReservedPayment & { readonly receipt: Receipt }>
  /** A whole paid call. */
  pay(payer: LocalAccount, changes?: PaymentChanges): Promise<Charged>
}

export interface TestCall {
  readonly callId?: Hex
  readonly requestDigest?: Hex
  /** The address that it comes from. */
  readonly from?: string
}

export const answer: StoredAnswer = { status: 200, rawHeaders: [], body: new Uint8Array([7]) }

export async function openTestDesk(hooks: RpcHooks = {}): Promise<TestDesk> {
  const parts = new AsyncDisposableStack()
  const dir = parts.use(createTempDir())
  const chain = parts.use(await openTestChain())
  const rpc = parts.use(await openRpcProxy(chain.rpcUrl, hooks))
  const client = createChainClient({ chainId: chain.market.chainId, rpcUrls: [rpc.url] })
  const account = await chain.createAccount()
  const clock = createTestClock(Date.now())
  const log = createTestLog()
  const minter = await chain.createPayer(1n)
  let safeBlock: bigint | 'newest' = 'newest'
  let newestBlock = await chain.client.getBlockNumber({ cacheTime: 0 })
  const mint = async (to: Address, amountUsdc: bigint) => {
    const call = { abi: devUsdcAbi, functionName: 'mint', args: [to, amountUsdc] } as const
    await chain.send({ from: minter, to: chain.usdc, ...call })
  }

  async function start(): Promise<DeskProcess> {
    newestBlock = await chain.client.getBlockNumber({ cacheTime: 0 })
    const process = new AsyncDisposableStack()
    const at = { provider: account.address, market: chain.market }
    const ledger = process.use(
      await openLedger({ clock, log }, { dir: dir.path, account, market: chain.market }, never),
    )
    const sender = await openSender(client, { account, clock, log, ledger, chainId: chain.market.chainId })
    const blockNumber = () => (safeBlock === 'newest' ? newestBlock : safeBlock)
    const deps = { client, clock, log, random: () => 0.5, ledger, sender, blockNumber }
    const x402 = process.use((await openX402(deps, at, never))!)

    async function reserve(
      header: string,
      { callId = randomHex(), requestDigest = randomHex(), from = '203.0.113.1' }: TestCall = {},
    ) {
      const { payment, address } = await x402.read(header, { headers: {}, socket: { remoteAddress: from } })
      using held = await x402.desk.hold(payment, { deployment, requestDigest }, never)
      const reserved = await held.reserve({ callId, terms }, never)
      const claim = claimOf({ callId, priceUsdc: usdc(price) })
      return { ...reserved, receipt: { ...receiptOf(claim), payer: address, provider: account.address } }
    }

    async function pay(payer: LocalAccount, changes: PaymentChanges = {}): Promise<Charged> {
      const { receipt, charge } = await reserve(await signPayment(terms, payer, changes))
      return charge(receipt, { key: undefined, answer })
    }
    return { ledger, x402, reserve, pay, [Symbol.asyncDispose]: () => process.disposeAsync() }
  }

  const terms = await readTerms(start)
  return {
    chain,
    rpc,
    clock,
    log,
    provider: account.address,
    terms,
    async createWallet(amountUsdc = 1_000_000n) {
      const wallet = privateKeyToAccount(generatePrivateKey())
      if (amountUsdc > 0n) await mint(wallet.address, amountUsdc)
      return wallet
    },
    mint,
    walletOf: (wallet) =>
      chain.client.readContract({
        address: chain.usdc,
        abi: devUsdcAbi,
        functionName: 'balanceOf',
        args: [wallet],
      }),
    async cancel(payer, nonce) {
      const signature = await signCancellation(terms, payer, nonce)
      const call = { abi: devUsdcAbi, functionName: 'cancelAuthorization' } as const
      const args = [payer.address, nonce, ...cutSignature(signature)] as const
      await chain.send({ from: minter, to: chain.usdc, ...call, args })
    },
    start,
    setSafeBlock(blockNumber) {
      safeBlock = blockNumber
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

async function readTerms(start: () => Promise<DeskProcess>): Promise<PaymentTerms> {
  await using process = await start()
  return process.x402.terms({ priceUsdc: usdc(price), spec: { limits: { timeoutMs: 2_000 } as never } })
}

interface SenderParts {
  readonly account: LocalAccount
  readonly clock: TestClock
  readonly log: TestLog
  readonly ledger: Ledger
  readonly chainId: number
}

async function openSender(client: PublicClient, { account, clock, log, ledger, chainId }: SenderParts) {
  const open = await ledger.transactions.readOpen()
  return createTransactionSender(
    { client, clock, log, store: ledger.transactions },
    { account, chainId, open, pollIntervalMs: 1_000 },
  )
}

/** A smart account on the chain whose signatures are those of this key. */
export async function deployWallet(chain: TestChain, key: Address): Promise<Address> {
  const { abi, bytecode } = await readWallet()
  return chain.deploy(encodeDeployData({ abi, bytecode: bytecode as Hex, args: [key] }))
}

async function readWallet() {
  const { artifacts } = await import('hardhat')
  return artifacts.readArtifact('test/contracts/support/Wallets.sol:Wallet')
}
