import { type Address, type PublicClient, parseEventLogs } from 'viem'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog, type Log } from '../../protocol/base/log.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { parseUsage } from '../../protocol/chain/grant-events.ts'
import { createGrantMirror } from '../../protocol/chain/grant-mirror.ts'
import { createTransactionSender } from '../../protocol/chain/transaction-sender.ts'
import type { Grant } from '../../protocol/grant.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { usdc } from '../../protocol/usdc.ts'
import { type Ledger, openLedger } from '../../provider/ledger/ledger.ts'
import { createProofs, transactionOf } from '../../provider/settlement/prove-collected.ts'
import { createSettler, type SettlerOptions } from '../../provider/settlement/settler.ts'
import { openTestChain, type TestGrant } from './chain.ts'
import { claimOf, createTempDir, never, receiptOf, reserve } from './money.ts'

const dayMs = 86_400_000

interface ChargeFacts {
  readonly grant: Grant | undefined
  readonly payer: Address
  readonly price: bigint
}

/** A provider's ledger, mirror, sender and settler on a real chain, with a clock of the test. They can be killed and started again. */
export async function openSettling() {
  const parts = new AsyncDisposableStack()
  const dir = parts.use(createTempDir())
  const chain = parts.use(await openTestChain())
  const account = await chain.createAccount()
  const clock = createTestClock(Date.now())

  /** Everything of a provider that has to do with money, as one process has it. */
  async function start(
    options: Partial<SettlerOptions> = {},
    log: Log = createTestLog(),
    client: PublicClient = chain.rpc,
  ) {
    const process = new AsyncDisposableStack()
    const proofs = process.use(
      createProofs(
        { client, clock, log, transactionOf: (from) => transactionOf(mirror, from) },
        { provider: account.address, market: chain.market },
      ),
    )
    const ledger = process.use(
      await openLedger({ clock, log, proofs }, { dir: dir.path, account, market: chain.market }, never),
    )
    const mirror = process.use(
      await createGrantMirror(
        { client, clock, log },
        { escrow: chain.escrow, provider: account.address, fromBlock: 0n, intervalMs: 1_000 },
        never,
      ),
    )
    const sender = createTransactionSender(
      { client, clock, log, store: ledger.transactions },
      {
        account,
        chainId: chain.market.chainId,
        open: await ledger.transactions.readOpen(),
        pollIntervalMs: 1_000,
      },
    )
    const settler = createSettler(
      { ledger, mirror, sender, clock, log },
      { escrow: chain.escrow, intervalMs: dayMs, ...options },
    )
    const charge = async (payer: Address, calls = 1, price = 7n): Promise<Receipt[]> => {
      await mirror.refresh(never)
      const grant = mirror.grant(payer)
      return Promise.all(Array.from({ length: calls }, () => chargeOne(ledger, { grant, payer, price })))
    }
    return {
      ledger,
      proofs,
      mirror,
      sender,
      settler,
      charge,
      /** Leaves as a killed process does: nothing is settled any more. */
      crash: () => process.disposeAsync(),
      async [Symbol.asyncDispose]() {
        await settler[Symbol.asyncDispose]()
        await process.disposeAsync()
      },
    }
  }

  async function chargeOne(ledger: Ledger, { grant, payer, price }: ChargeFacts): Promise<Receipt> {
    const claim = claimOf({
      payer: { kind: 'owner', address: payer },
      grant,
      priceUsdc: usdc(price),
      nowSeconds: Math.floor(clock.nowMs() / 1000),
    })
    const receipt = receiptOf(claim, { provider: account.address })
    await reserve(ledger, claim).charge(receipt)
    return receipt
  }

  const createPayer = (terms: Partial<TestGrant> = {}) =>
    chain.createPayer(3_000n, { provider: account.address, priceUsdc: 10n, budgetUsdc: 1_000n, ...terms })
  /** What every transaction of the provider said: rows paid and skipped. */
  const readSettlements = async () => {
    const logs = await chain.client.getLogs({ address: chain.escrow, fromBlock: 0n })
    const events = parseEventLogs({ abi: escrowAbi, logs, eventName: ['Settled', 'Skipped', 'BatchSettled'] })
    return {
      batches: events.filter((event) => event.eventName === 'BatchSettled'),
      paid: events.flatMap((event) =>
        event.eventName === 'Settled' ? [[event.args.payer, parseUsage(event.args.usage)] as const] : [],
      ),
      skipped: events.flatMap((event) => (event.eventName === 'Skipped' ? [event.args.payer] : [])),
    }
  }
  return {
    dir: dir.path,
    chain,
    clock,
    provider: account.address,
    start,
    createPayer,
    readSettlements,
    earned: () => chain.balanceOf(account.address),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** A log that calls `act` once when it is told of `event`. */
export function logThat(event: string, act: () => void): Log {
  const log = createTestLog()
  return {
    ...log,
    info(name, facts) {
      log.info(name, facts)
      if (name === event) act()
    },
  }
}
