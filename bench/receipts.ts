import { encodeDeployData } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { outcomes } from '../protocol/call.ts'
import { receiptsAbi, receiptsBytecode } from '../protocol/chain/contracts.ts'
import { createMerkleTree } from '../protocol/merkle.ts'
import { isSignedByKey, parseSignedReceipt } from '../protocol/read-receipt.ts'
import { receiptLeaf } from '../protocol/receipt.ts'
import { delegateReceiptKey, isDelegated } from '../protocol/receipt-key.ts'
import { formatSignedReceipt, type SignedReceipt } from '../protocol/signed-receipt.ts'
import type { Market } from '../protocol/typed-data.ts'
import { verifyReceipt } from '../protocol/verify-receipt.ts'
import { createReceiptSigner } from '../provider/ledger/receipt-signer.ts'
import { openContractsOnChain } from '../test/support/contracts-on-chain.ts'
import { claimOf, receiptOf } from '../test/support/money.ts'
import type { Measurement } from './measurement.ts'
import { median } from './median.ts'

/** Calls that end together, whose receipts one signature serves. */
const groupSizes = [1, 16, 512]
const account = privateKeyToAccount(`0x${'be'.repeat(32)}`)
const seconds = 1_700_000_000
/** Of one turn. */
const checksAtOnce = 100

/** What a receipt weighs, and what it takes to check one. */
export const receipts: Measurement = {
  name: 'receipts',
  title: 'Receipts',
  async run({ rounds }, signal) {
    await using chain = await openContractsOnChain()
    const market = { chainId: await chain.client.getChainId(), escrow: chain.escrow }
    const contract = await chain.deploy(
      encodeDeployData({ abi: receiptsAbi, bytecode: receiptsBytecode, args: [chain.escrow] }),
    )
    const rows: (string | number)[][] = []
    for (const size of groupSizes) {
      signal.throwIfAborted()
      const [signed] = await signGroup(size, market)
      const word = formatSignedReceipt(signed as SignedReceipt)
      const gas = await chain.client.estimateContractGas(callOf(signed as SignedReceipt, contract))
      const checked = await measureChecks(word, { rounds, market }, signal)
      const { known, whole, account: byAccount } = checked
      rows.push([`${size}`, word.length, known, known / byAccount, whole, Number(gas)])
    }
    return {
      tables: [
        {
          caption: '',
          columns: [
            'calls that ended together',
            'bytes of the header',
            'checks/s',
            '×',
            'checks/s of new keys',
            'gas on chain',
          ],
          rows,
        },
      ],
      remarks: [
        'By processor time of one thread. A key that is known was vouched for in a receipt before; a new one costs the check of the account, too. × is beside what the account of the provider vouches for alone: as if it had signed each call. Gas is that of a transaction with `Receipts.verify`, 21 000 and calldata included.',
      ],
    }
  },
}

interface Checked {
  /** Checks in a second of processor time: of a receipt whose key is known, of a whole one, and of one signature of an account. */
  readonly known: number
  readonly whole: number
  readonly account: number
}

/** In turns, so that whatever the machine does meets all of them. */
async function measureChecks(
  word: string,
  { rounds, market }: { readonly rounds: number; readonly market: Market },
  signal: AbortSignal,
): Promise<Checked> {
  const parse = () => parseSignedReceipt(word) as SignedReceipt
  const ways = {
    known: async () => assertRight(isSignedByKey(parse())),
    whole: async () =>
      assertRight((await verifyReceipt(parse())).every(({ verdict }) => verdict !== 'wrong')),
    account: async () => assertRight(await isDelegated(parse().key, market)),
  }
  const perSecond = { known: [] as number[], whole: [] as number[], account: [] as number[] }
  // The first round only compiles.
  for (let round = 0; round <= rounds; round += 1) {
    for (const name of ['known', 'whole', 'account'] as const) {
      signal.throwIfAborted()
      const before = process.threadCpuUsage()
      for (let check = 0; check < checksAtOnce; check += 1) await ways[name]()
      const { user, system } = process.threadCpuUsage(before)
      if (round > 0) perSecond[name].push((checksAtOnce * 1e6) / (user + system))
    }
  }
  return {
    known: median(perSecond.known),
    whole: median(perSecond.whole),
    account: median(perSecond.account),
  }
}

function assertRight(isRight: boolean): void {
  if (!isRight) throw new Error('A receipt that was signed here does not hold.')
}

async function signGroup(size: number, market: Market): Promise<SignedReceipt[]> {
  const signer = createReceiptSigner(market)
  const key = {
    provider: account.address,
    ...signer.point,
    validAfter: seconds - 60,
    validBefore: seconds + 60,
  }
  signer.key = await delegateReceiptKey(key, account, market)
  const group = Array.from({ length: size }, (_, durationMs) =>
    receiptOf(claimOf(), { provider: account.address, durationMs, startedAt: seconds * 1000 }),
  )
  const tree = createMerkleTree(group.map(receiptLeaf))
  return group.map((receipt, index) => ({
    market,
    receipt,
    path: tree.proof(index),
    ...signer.sign(tree.root),
  }))
}

function callOf({ receipt, path, key, signature }: SignedReceipt, address: `0x${string}`) {
  const { outcome, priceUsdc: price, startedAt, ...plain } = receipt
  const { delegation, ...delegated } = key
  const [r, s] = [signature.slice(0, 66), `0x${signature.slice(66)}`] as [`0x${string}`, `0x${string}`]
  const signed = { ...plain, outcome: outcomes[outcome], price, startedAt: BigInt(startedAt) }
  return {
    address,
    abi: receiptsAbi,
    functionName: 'verify',
    args: [signed, { path, r, s, key: delegated, delegation }],
  } as const
}
