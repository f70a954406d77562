import { join } from 'node:path'
import type { Address } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { devUsdcAbi } from '../../protocol/chain/contracts.ts'
import { limits } from '../../protocol/limits.ts'
import { usdc } from '../../protocol/usdc.ts'
import { startScript, type TestProcess } from '../support/child-process.ts'
import { type Deployed, echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { openRpcProxy, type RpcCall, type RpcProxy } from '../support/rpc-proxy.ts'
import { askTerms, createWallet, sendPaid, signPayment, walletOf } from '../support/x402.ts'

/**
 * A provider that dies by SIGKILL at the worst moments of a payment, and comes back: whatever it knew, the price moves
 * once or not at all, and who sends the payment again gets the answer that was paid for.
 */

const price = 500n
const privateKey = generatePrivateKey()
const dave = privateKeyToAccount(privateKey)

let at: TestMarket
let rpc: RpcProxy
let provider: TestProcess
let url: URL
let deployed: Deployed
/** Where the provider is to die: before the chain hears of it, or after, before the provider hears the answer. */
let deathAt: { readonly moment: 'before' | 'after'; readonly method: string } | undefined

async function dieAt(moment: 'before' | 'after', { method }: RpcCall): Promise<void> {
  if (deathAt?.moment !== moment || deathAt.method !== method) return
  deathAt = undefined
  provider.signal('SIGKILL')
  await provider.ended
}

async function startProvider(): Promise<void> {
  const command = ['cli/main.ts', 'provider', 'up', '--domain', 'dave', '--host', '127.0.0.1', '--port', '0']
  const more = ['--rpc', rpc.url.href, '--dir', join(at.user.dir, '.dave'), '--yes', '--json']
  provider = await startScript([...command, ...more], {
    cwd: at.user.dir,
    env: { KHACHAPURI_HOME: join(at.user.dir, '.home'), KHACHAPURI_PRIVATE_KEY: privateKey },
  })
  await provider.waitFor('\n')
  url = new URL(JSON.parse(provider.stdout()).server)
}

beforeAll(async () => {
  at = await openMarket()
  rpc = await openRpcProxy(at.dev.chain.rpcUrl, {
    before: (call) => dieAt('before', call),
    after: (call) => dieAt('after', call),
  })
  await startProvider()
  deployed = await at.deploy(echoProgram, '--provider', 'dave', '--payer', 'caller')
})
afterAll(async () => {
  await provider[Symbol.asyncDispose]()
  await rpc[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

/** What was paid for so far. */
const paid: { payer: Address; payment: string; text: string }[] = []

const callUrl = () => new URL(`/${deployed.cid}/instance`, url)

const moments = [
  ['after the program, before anything was signed', { moment: 'before', method: 'eth_estimateGas' }],
  [
    'when the transaction was signed, and nobody had seen it',
    { moment: 'before', method: 'eth_sendRawTransaction' },
  ],
  [
    'when the transaction was mined, and the provider did not know',
    { moment: 'after', method: 'eth_sendRawTransaction' },
  ],
] as const
test.each(moments)(
  '%s: the next start takes the money, once, and the answer is still there',
  async (_when, death) => {
    const payer = await createWallet(at.dev, usdc(2n * price))
    const payment = await signPayment(await askTerms(callUrl()), payer)
    deathAt = death
    await expect(sendPaid({ url: callUrl(), payment })).rejects.toThrow('fetch failed')
    expect(deathAt).toBeUndefined()

    await startProvider()
    const again = await sendPaid({ url: callUrl(), payment })
    expect(again).toMatchObject({
      status: 200,
      replayed: true,
      result: { success: true, payer: payer.address },
    })
    expect(await walletOf(at.dev, payer.address)).toBe(price)
    const transfers = await at.dev.client.getContractEvents({
      address: at.dev.contracts.usdc,
      abi: devUsdcAbi,
      eventName: 'Transfer',
      args: { from: payer.address, to: dave.address },
      fromBlock: 0n,
    })
    expect(transfers).toHaveLength(1)
    expect(again.result?.transaction).toBe(transfers[0]?.transactionHash)
    const receipt = await fetch(new URL(`/_/receipts/${again.callId}`, url))
    expect(await receipt.json()).toMatchObject({ payer: payer.address, price: '500', outcome: 'answered' })

    paid.push({ payer: payer.address, payment, text: again.text })
  },
)

test('while the payment was looked at: nothing had run, and the same payment pays', async () => {
  const payer = await createWallet(at.dev, usdc(price))
  const payment = await signPayment(await askTerms(callUrl()), payer)
  deathAt = { moment: 'before', method: 'eth_call' }
  await expect(sendPaid({ url: callUrl(), payment })).rejects.toThrow('fetch failed')
  await startProvider()
  const answer = await sendPaid({ url: callUrl(), payment })
  expect(answer).toMatchObject({ status: 200, replayed: false })
  expect(await walletOf(at.dev, payer.address)).toBe(0n)
  paid.push({ payer: payer.address, payment, text: answer.text })
})

test('while the program ran: the call is lost, nothing is taken, and the payment runs nothing a second time', async () => {
  const payer = await createWallet(at.dev, usdc(price))
  // Well more than is held back until the money is there, as some stays in the program’s own buffers, and then nothing.
  const path = `loop-after/${2 * limits.idempotentAnswerBytesMax}`
  const urlNow = () => new URL(`/${deployed.cid}/${path}`, url)
  const payment = await signPayment(await askTerms(urlNow()), payer)
  const response = await fetch(urlNow(), { headers: { 'payment-signature': payment } })
  const reader = response.body!.getReader()
  expect((await reader.read()).done).toBe(false)
  provider.signal('SIGKILL')
  await provider.ended
  const readOn = async () => {
    while (!(await reader.read()).done);
  }
  await expect(readOn()).rejects.toThrow('terminated')

  await startProvider()
  for (let time = 0; time < 2; time += 1) {
    const again = await sendPaid({ url: urlNow(), payment })
    expect(again).toMatchObject({ status: 409, code: 'payment_used' })
    expect(JSON.parse(again.text)).toMatchObject({ reason: 'interrupted' })
  }
  expect(await walletOf(at.dev, payer.address)).toBe(price)
})

test('after all that and one more death, nothing is left to take, and every answer is still there', async () => {
  const wallets = () => Promise.all(paid.map(({ payer }) => walletOf(at.dev, payer)))
  const before = await wallets()
  provider.signal('SIGKILL')
  await provider.ended
  await startProvider()
  expect(paid).toHaveLength(4)
  for (const { payment, text } of paid) {
    expect(await sendPaid({ url: callUrl(), payment })).toMatchObject({ status: 200, text, replayed: true })
  }
  expect(await wallets()).toEqual(before)
})
