import { concat, createWalletClient, encodeAbiParameters, type Hex, http, pad, parseAbi, toHex } from 'viem'
import { expect, test } from 'vitest'
import { signPayment } from '../support/x402.ts'
import { answer, deployWallet, openTestDesk, price, type TestDesk } from '../support/x402-desk.ts'

/** Accounts that are more than a key pay by x402, or are told why not. */

const paid = { refusal: undefined, result: { success: true } }
const walletAbi = parseAbi(['function setMood(uint8 mood)'])
/** As in test/contracts/support/Wallets.sol. */
const moods = {
  honest: 0,
  reverts: 1,
  burnsGas: 2,
  saysNothing: 3,
  saysALot: 4,
  saysNo: 5,
  saysYes: 6,
  burnsSome: 8,
}

async function openWallet(s: TestDesk, amountUsdc = price) {
  const key = await s.createWallet(0n)
  const wallet = await deployWallet(s.chain, key.address)
  await s.mint(wallet, amountUsdc)
  const from = { authorization: { from: wallet } }
  const setMood = async (mood: keyof typeof moods) => {
    const stranger = await s.chain.createPayer(1n)
    const call = { abi: walletAbi, functionName: 'setMood', args: [moods[mood]] } as const
    await s.chain.send({ from: stranger, to: wallet, ...call })
  }
  return { key, wallet, from, setMood }
}

test('a contract pays whose one key signs, once it is on the chain (ERC-1271)', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const { key, wallet, from } = await openWallet(s)
  expect(await p.pay(key, from)).toMatchObject(paid)
  expect([await s.walletOf(wallet), await s.walletOf(s.provider)]).toEqual([0n, price])
})

test('so does one with signatures of its own kind', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const { key, wallet, from, setMood } = await openWallet(s)
  await setMood('saysYes')
  expect(await p.pay(key, { ...from, signature: `0x${'ab'.repeat(130)}` })).toMatchObject(paid)
  expect(await s.walletOf(wallet)).toBe(0n)
})

test.each(['reverts', 'burnsGas', 'saysNothing', 'saysALot', 'saysNo'] as const)(
  'a contract that %s has not signed, and nothing is taken',
  async (mood) => {
    await using s = await openTestDesk()
    await using p = await s.start()
    const { key, wallet, from, setMood } = await openWallet(s)
    await setMood(mood)
    await expect(p.pay(key, from)).rejects.toMatchObject({ code: 'payment_invalid' })
    expect(await s.walletOf(wallet)).toBe(price)
  },
)

test('a contract that takes its signature back while the program runs gets no answer and is not charged', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const { key, wallet, from, setMood } = await openWallet(s)
  const { receipt, charge } = await p.reserve(await signPayment(s.terms, key, from))
  await setMood('saysNo')
  expect(await charge(receipt, { key: undefined, answer })).toMatchObject({
    refusal: { code: 'payment_failed' },
    result: { success: false, errorReason: 'transfer_refused' },
  })
  expect(await s.walletOf(wallet)).toBe(price)
})

test('a contract that takes to burning gas while the program runs has its provider pay no more than for an honest one', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const { key, wallet, from, setMood } = await openWallet(s)
  const { receipt, charge } = await p.reserve(await signPayment(s.terms, key, from))
  await setMood('burnsSome')
  const weiBefore = await s.chain.client.getBalance({ address: s.provider })
  expect(await charge(receipt, { key: undefined, answer })).toMatchObject({
    refusal: { code: 'payment_failed' },
    result: { success: false, errorReason: 'transfer_refused' },
  })
  expect(await s.chain.client.getBalance({ address: s.provider })).toBe(weiBefore)
  expect(await s.walletOf(wallet)).toBe(price)
})

test('a wallet that is not on the chain yet is told so before anybody is asked (ERC-6492)', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const key = await s.createWallet()
  const inner = encodeAbiParameters(
    [{ type: 'address' }, { type: 'bytes' }, { type: 'bytes' }],
    [s.chain.usdc, '0x1234', `0x${'5a'.repeat(65)}`],
  )
  const signature: Hex = concat([inner, `0x${'6492'.repeat(16)}`])
  const asked = s.rpc.calls.length
  await expect(p.pay(key, { signature })).rejects.toMatchObject({
    code: 'payment_invalid',
    details: { reason: 'wallet_not_deployed' },
  })
  expect(s.rpc.calls.length).toBe(asked)
})

test('an account with a key and code pays by its key, and by its code (EIP-7702)', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const account = await s.createWallet(2n * price)
  const code = await deployWallet(s.chain, account.address)
  const sponsor = createWalletClient({
    account: await s.chain.createAccount(),
    transport: http(s.chain.rpcUrl.href),
  })
  const { chainId } = s.terms
  const authorization = await account.signAuthorization!({ address: code, chainId, nonce: 0 })
  const hash = await sponsor.sendTransaction({
    chain: null,
    to: sponsor.account.address,
    authorizationList: [authorization],
    gas: 200_000n,
  })
  await s.chain.client.waitForTransactionReceipt({ hash })
  expect(await s.chain.client.getCode({ address: account.address })).toBe(
    concat(['0xef0100', code]).toLowerCase(),
  )
  // The delegate's own state: whose signatures it takes.
  const state = [account.address, toHex(0, { size: 32 }), pad(account.address)]
  await s.chain.client.request({ method: 'hardhat_setStorageAt', params: state } as never)

  expect(await p.pay(account)).toMatchObject(paid)
  const stranger = await s.chain.createPayer(1n)
  const call = { abi: walletAbi, functionName: 'setMood', args: [moods.saysYes] } as const
  await s.chain.send({ from: stranger, to: account.address, ...call })
  expect(await p.pay(account, { signature: `0x${'ab'.repeat(130)}` })).toMatchObject(paid)
  expect([await s.walletOf(account.address), await s.walletOf(s.provider)]).toEqual([0n, 2n * price])
})
