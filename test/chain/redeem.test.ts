import { type Address, type LocalAccount, parseEventLogs, zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog, type Log } from '../../protocol/base/log.ts'
import { escrowCalls } from '../../protocol/chain/calls.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { readGrant } from '../../protocol/chain/escrow.ts'
import { createGrantMirror } from '../../protocol/chain/grant-mirror.ts'
import { createTransactionSender } from '../../protocol/chain/transaction-sender.ts'
import { usdc } from '../../protocol/usdc.ts'
import { type SignedVoucher, signVoucher } from '../../protocol/voucher.ts'
import { openLedger } from '../../provider/ledger/ledger.ts'
import { createSettler } from '../../provider/settlement/settler.ts'
import { openTestChain } from '../support/chain.ts'
import { fund } from '../support/contracts-on-chain.ts'
import { claimOf, createTempDir, never, openPolicy, receiptOf, reserve } from '../support/money.ts'

/** Vouchers become escrow balance: I-4 to I-6 with the provider's own ledger and settler, on a real chain. */

interface Payer {
  readonly account: LocalAccount
  /** Signs its vouchers: the account itself, or a session key. */
  readonly signer: LocalAccount
}

async function setup() {
  const parts = new AsyncDisposableStack()
  const dir = parts.use(createTempDir())
  const chain = parts.use(await openTestChain())
  const provider = await chain.createAccount()
  const clock = createTestClock(Date.now())

  async function start(log: Log = createTestLog()) {
    const process = new AsyncDisposableStack()
    const identity = { account: provider, market: chain.market }
    const ledger = process.use(await openLedger({ clock, log }, { dir: dir.path, ...identity }, never))
    const mirror = process.use(
      await createGrantMirror(
        { client: chain.rpc, clock, log },
        { escrow: chain.escrow, provider: provider.address, fromBlock: 0n, intervalMs: 1_000 },
        never,
      ),
    )
    const sender = createTransactionSender(
      { client: chain.rpc, clock, log, store: ledger.transactions },
      {
        account: provider,
        chainId: chain.market.chainId,
        open: await ledger.transactions.readOpen(),
        pollIntervalMs: 1_000,
      },
    )
    const settler = createSettler(
      { ledger, mirror, sender, clock, log },
      { escrow: chain.escrow, intervalMs: 24 * 3_600_000 },
    )
    return {
      ledger,
      mirror,
      sender,
      settler,
      /** Charges calls at 7 under a voucher for just as many more, or by the metered grant. */
      async charge(payer: Payer, calls: number, signed?: SignedVoucher): Promise<void> {
        await mirror.refresh(never)
        const { address } = payer.account
        const grant = mirror.grant(address, signed ? payer.signer.address : zeroAddress)
        if (signed) await ledger.vouchers.accept(signed)
        const charged = Array.from({ length: calls }, () => {
          const claim = claimOf({
            payer: signed ? { kind: 'voucher', address, signed } : { kind: 'owner', address },
            policy: signed ? undefined : openPolicy,
            grant,
            priceUsdc: usdc(7n),
            nowSeconds: Math.floor(clock.nowMs() / 1000),
          })
          return reserve(ledger, claim).charge(receiptOf(claim, { provider: provider.address }))
        })
        await Promise.all(charged)
      },
      crash: () => process.disposeAsync(),
      async [Symbol.asyncDispose]() {
        await settler[Symbol.asyncDispose]()
        await process.disposeAsync()
      },
    }
  }

  async function createPayer({ bySession = false } = {}): Promise<Payer> {
    const account = await chain.createAccount()
    const signer = bySession ? await chain.createAccount() : account
    await chain.unlock(account.address)
    await fund(chain, account.address, 3_000n)
    await approve({ account, signer }, signer.address)
    return { account, signer }
  }

  const approve = ({ account }: Payer, signer: Address) =>
    chain.approve(account.address, {
      provider: provider.address,
      priceUsdc: 10n,
      budgetUsdc: 1_000n,
      signer,
      noticeHours: 1,
    })

  return {
    chain,
    clock,
    provider: provider.address,
    start,
    createPayer,
    approve,
    async sign({ account, signer }: Payer, { amount, calls, epoch = 0 }: Promised): Promise<SignedVoucher> {
      const voucher = {
        payer: account.address,
        provider: provider.address,
        maxAmount: usdc(amount),
        maxCalls: calls,
        epoch,
      }
      return { voucher, signer: signer.address, signature: await signVoucher(voucher, signer, chain.market) }
    },
    end: (functionName: 'revoke' | 'reclaim', { account, signer }: Payer) =>
      chain.send({
        from: account.address,
        to: chain.escrow,
        abi: escrowAbi,
        functionName,
        args: [provider.address, signer.address],
      } as never),
    grantOf: ({ account, signer }: Payer) =>
      readGrant(
        chain.rpc,
        chain.escrow,
        { payer: account.address, provider: provider.address, signer: signer.address },
        never,
      ),
    earned: () => chain.balanceOf(provider.address),
    async readEvents() {
      const logs = await chain.client.getLogs({ address: chain.escrow, fromBlock: 0n })
      return parseEventLogs({ abi: escrowAbi, logs, eventName: ['Skipped', 'BatchSettled'] })
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

interface Promised {
  readonly amount: bigint
  readonly calls: number
  readonly epoch?: number
}

test('vouchers are redeemed for exactly what was charged, beside metered use, and a replay pays nothing', async () => {
  await using s = await setup()
  await using p = await s.start()
  const [self, session, metered] = [
    await s.createPayer(),
    await s.createPayer({ bySession: true }),
    await s.createPayer(),
  ]
  await s.approve(metered, zeroAddress)
  const vouchers = [
    await s.sign(self, { amount: 1_000n, calls: 200 }),
    await s.sign(session, { amount: 999n, calls: 100 }),
  ] as const
  await p.charge(self, 20, vouchers[0])
  await p.charge(session, 50, vouchers[1])
  await p.charge(metered, 10)

  const { batches } = await p.settler.settleNow(never)
  expect(batches.map(({ paidUsdc, rows }) => [rows.length, paidUsdc]).sort()).toEqual([
    [1, 70n],
    [2, 490n],
  ])
  expect(await s.earned()).toBe(560n)
  expect(await s.grantOf(self)).toMatchObject({ spentUsdc: 140n, budgetUsdc: 860n, calls: 20 })
  expect(await s.grantOf(session)).toMatchObject({ spentUsdc: 350n, budgetUsdc: 650n, calls: 50 })
  expect(p.settler.status().unsettledUsdc).toBe(0n)
  expect(await p.settler.settleNow(never)).toEqual({ batches: [] })

  // The same rows again, as a provider that forgot would send them.
  const rows = [
    { voucher: vouchers[0].voucher, signature: vouchers[0].signature, amountUsdc: usdc(140n), calls: 20 },
    { voucher: vouchers[1].voucher, signature: vouchers[1].signature, amountUsdc: usdc(350n), calls: 50 },
  ]
  await p.sender.run(escrowCalls(s.chain.escrow).redeem(rows, `0x${'00'.repeat(32)}`), never)
  expect(await s.earned()).toBe(560n)
  expect((await s.readEvents()).filter(({ eventName }) => eventName === 'Skipped')).toHaveLength(2)

  // And what comes on top, under a higher voucher.
  await p.charge(self, 5, await s.sign(self, { amount: 1_100n, calls: 210 }))
  await p.settler.settleNow(never)
  expect(await s.earned()).toBe(595n)
})

test.each(['batch_created', 'transaction_sent', 'transaction_concluded', 'batch_settled'])(
  'a crash right after %s loses no voucher and redeems none twice',
  async (event) => {
    await using s = await setup()
    const payer = await s.createPayer({ bySession: true })
    const killed = new AbortController()
    {
      const p = await s.start(logThat(event, () => killed.abort(new Error('killed'))))
      await p.charge(payer, 20, await s.sign(payer, { amount: 150n, calls: 30 }))
      await expect(p.settler.settleNow(killed.signal)).rejects.toThrow('killed')
      await p.crash()
    }
    await using p = await s.start()
    await p.charge(payer, 5, await s.sign(payer, { amount: 300n, calls: 60 }))
    await p.settler.settleNow(never)
    expect(await s.earned()).toBe(175n)
    expect(p.settler.status().unsettledUsdc).toBe(0n)
    expect(await p.ledger.batches.readOpen()).toEqual([])
  },
)

test('a voucher of an epoch that has ended pays nothing, and one of the next pays its own calls only', async () => {
  await using s = await setup()
  await using p = await s.start()
  const payer = await s.createPayer()
  const old = await s.sign(payer, { amount: 700n, calls: 100 })
  await p.charge(payer, 10, old)
  await s.chain.goOffline()
  await s.end('revoke', payer)
  await s.chain.wait(3_601)
  await s.end('reclaim', payer)
  await s.approve(payer, payer.signer.address)
  await s.chain.goOnline()
  await p.settler.settleNow(never)
  expect(await s.earned()).toBe(0n)

  await p.charge(payer, 3, await s.sign(payer, { amount: 21n, calls: 3, epoch: 1 }))
  await p.settler.settleNow(never)
  expect(await s.earned()).toBe(21n)
})

/** A log that calls `act` once it is told of `event`. */
function logThat(event: string, act: () => void): Log {
  const log = createTestLog()
  return {
    ...log,
    info(name, facts) {
      log.info(name, facts)
      if (name === event) act()
    },
  }
}
