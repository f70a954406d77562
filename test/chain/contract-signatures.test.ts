import { getAddress, type Hex, type LocalAccount, parseAbi } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { toProtocolError } from '../../protocol/errors.ts'
import { problemResponse } from '../../protocol/http/problem-response.ts'
import { limits } from '../../protocol/limits.ts'
import { signPass } from '../../protocol/pass.ts'
import { passRevocationPath, signPassRevocation } from '../../protocol/pass-revocation.ts'
import { formatSignedToken } from '../../protocol/signed-token.ts'
import { statementPaths } from '../../protocol/statement.ts'
import { signStatementRequest } from '../../protocol/statement-request.ts'
import { usdc } from '../../protocol/usdc.ts'
import { createContractSignatures } from '../../provider/admission/contract-signatures.ts'
import { createFindPayer } from '../../provider/admission/find-payer.ts'
import { createIdleChecks } from '../../provider/admission/idle-checks.ts'
import { createAccountPages } from '../../provider/http/account-pages.ts'
import { openTestChain } from '../support/chain.ts'
import {
  addressOf,
  chargeCall,
  createTempDir,
  grantOf,
  openTestLedger,
  passOf,
  provider,
  randomHex,
} from '../support/money.ts'
import { openRpcProxy } from '../support/rpc-proxy.ts'
import { until } from '../support/tunnels.ts'
import { deployWallet } from '../support/x402-desk.ts'

/** Payers that are contracts, and sign what needs no chain (ERC-1271). */

const walletAbi = parseAbi(['function setMood(uint8 mood)'])
/** As in test/contracts/support/Wallets.sol. */
const moods = { honest: 0, reverts: 1, burnsGas: 2, saysNothing: 3, saysALot: 4, saysNo: 5, saysYes: 6 }

async function setup() {
  const stack = new AsyncDisposableStack()
  const chain = stack.use(await openTestChain())
  const rpc = stack.use(await openRpcProxy(chain.rpcUrl))
  const dir = stack.use(createTempDir())
  const clock = createTestClock(Date.now())
  const log = createTestLog()
  const ledger = stack.use(await openTestLedger(dir.path, clock))
  const key = await chain.createAccount()
  const wallet = getAddress(await deployWallet(chain, key.address))
  const stranger = await chain.createPayer(1n)
  const client = createChainClient({ chainId: chain.market.chainId, rpcUrls: [rpc.url] })
  let block = await chain.client.getBlockNumber({ cacheTime: 0 })
  const contracts = createContractSignatures({ client, clock, log, blockNumber: () => block })
  const grants = { grant: () => grantOf({ payer: wallet }), credits: () => undefined }
  const { revokedPasses, voucherAccesses, hasPaid } = ledger
  const idleChecks = createIdleChecks({ clock })
  const { market } = chain
  const find = createFindPayer(
    { clock, log, grants, revokedPasses, voucherAccesses, hasPaid, idleChecks, contracts },
    { provider, market },
  )
  const pages = createAccountPages(
    { clock, askContract: contracts.ask, ledger, grants },
    { provider, market },
  )
  pages.onError((error) => problemResponse(toProtocolError(error)))
  return {
    ...{ chain, rpc, clock, log, ledger, key, wallet, market, pages },
    /** What the chain is asked from now on, by method. */
    count(method: string) {
      const before = rpc.calls.length
      return () => rpc.calls.slice(before).filter((call) => call.method === method).length
    },
    async setMood(mood: keyof typeof moods) {
      const call = { abi: walletAbi, functionName: 'setMood', args: [moods[mood]] } as const
      await chain.send({ from: stranger, to: wallet, ...call })
      block = await chain.client.getBlockNumber({ cacheTime: 0 })
    },
    pass: (id: Hex = randomHex(), signer: LocalAccount = key, payer = wallet) =>
      signPass(passOf({ payer, id }), signer, market),
    call: (token: string) =>
      find({
        headers: { authorization: `Bearer ${token}` },
        socket: { remoteAddress: '192.0.2.1' },
        deployment: { spec: { payer: 'caller', owner: addressOf(0x0e4) } },
        priceUsdc: usdc(500n),
      }),
    /** Until the contract has been asked so often, in all. */
    asked: (times: number) =>
      until(() => log.lines.filter(({ event }) => event === 'contract_asked').length === times),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const invalid = expect.objectContaining({ code: 'pass_invalid' })

test('a contract pays by passes of its key, each asked for once', async () => {
  await using s = await setup()
  const token = await s.pass()
  const calls = s.count('eth_call')
  const found = await Promise.all(Array.from({ length: 20 }, () => s.call(token)))
  expect(found.at(-1)).toMatchObject({ kind: 'pass', address: s.wallet })
  expect(await s.call(token)).toMatchObject({ kind: 'pass' })
  expect(calls()).toBe(1)
  const thief = await s.chain.createAccount()
  await expect(s.call(await s.pass(randomHex(), thief))).rejects.toEqual(invalid)
})

test('it takes passes back and reads its account by them, too', async () => {
  await using s = await setup()
  await chargeCall(s.ledger, {
    payer: { kind: 'owner', address: s.wallet },
    grant: grantOf({ payer: s.wallet }),
  })
  const id = randomHex()
  const token = await s.pass(id)
  await s.call(token)
  const validBefore = Math.floor(s.clock.nowMs() / 1000) + 60
  const ask = async (signer: LocalAccount) => {
    const request = await signStatementRequest({ payer: s.wallet, provider, validBefore }, signer, s.market)
    return (await s.pages.request(statementPaths.lanes, { headers: { authorization: `Bearer ${request}` } }))
      .status
  }
  const revoke = async (signer: LocalAccount) => {
    const body = await signPassRevocation({ payer: s.wallet, id, validBefore }, signer, s.market)
    return (await s.pages.request(passRevocationPath, { method: 'POST', body })).status
  }
  const thief = await s.chain.createAccount()
  expect([await ask(thief), await revoke(thief)]).toEqual([403, 403])
  expect(await s.call(token)).toMatchObject({ kind: 'pass' })
  expect([await ask(s.key), await revoke(s.key)]).toEqual([200, 200])
  await expect(s.call(token)).rejects.toMatchObject({ code: 'pass_revoked' })
})

test('what it takes for a signature is its own affair, but one pass is one token', async () => {
  await using s = await setup()
  await s.setMood('saysYes')
  const pass = passOf({ payer: s.wallet, id: randomHex() })
  const first = formatSignedToken('kp1', pass, `0x${'ab'.repeat(130)}`)
  expect(await s.call(first)).toMatchObject({ kind: 'pass' })
  const calls = s.count('eth_call')
  await expect(s.call(formatSignedToken('kp1', pass, `0x${'ac'.repeat(130)}`))).rejects.toEqual(invalid)
  expect([calls(), (await s.call(first)).kind]).toEqual([0, 'pass'])
})

test('a contract that fails, says anything else or computes without end has not signed', async () => {
  await using s = await setup()
  for (const mood of ['reverts', 'burnsGas', 'saysNothing', 'saysALot', 'saysNo'] as const) {
    await s.setMood(mood)
    await expect(s.call(await s.pass())).rejects.toEqual(invalid)
  }
})

test('a contract that changes its mind is asked again behind the calls: then its passes pay no more, or again', async () => {
  await using s = await setup()
  const token = await s.pass()
  await s.call(token)
  await s.setMood('saysNo')
  expect(await s.call(token)).toMatchObject({ kind: 'pass' })
  await s.clock.advance(limits.contractSignatureAgeMsMax)
  // The last word still counts for the call that finds it old.
  expect(await s.call(token)).toMatchObject({ kind: 'pass' })
  await s.asked(2)
  await until(() => s.log.lines.at(-1)?.facts['isGood'] === false)
  await expect(s.call(token)).rejects.toEqual(invalid)
  await s.setMood('honest')
  await s.clock.advance(limits.contractSignatureAgeMsMax)
  await expect(s.call(token)).rejects.toEqual(invalid)
  await s.asked(3)
  expect(await s.call(token)).toMatchObject({ kind: 'pass' })
})

test('while the chain is away the last word stands, and what is new has to wait', async () => {
  await using s = await setup()
  const token = await s.pass()
  await s.call(token)
  await s.chain.goOffline()
  await s.clock.advance(limits.contractSignatureAgeMsMax)
  for (let round = 0; round < 3; round += 1) expect(await s.call(token)).toMatchObject({ kind: 'pass' })
  await until(() => s.log.lines.some(({ event }) => event === 'contract_not_asked'))
  expect(await s.call(token)).toMatchObject({ kind: 'pass' })
  await expect(s.call(await s.pass())).rejects.toMatchObject({ code: 'chain_unreachable' })
})

test('who forges in the name of a key asks the chain once whether that is a contract, and no more', async () => {
  await using s = await setup()
  const payer = await s.chain.createAccount()
  const [asked, calls] = [s.count('eth_getCode'), s.count('eth_call')]
  for (let index = 0; index < 5; index += 1)
    await expect(s.call(await s.pass(randomHex(), s.key, payer.address))).rejects.toEqual(invalid)
  expect([asked(), calls()]).toEqual([1, 0])
  expect(await s.call(await s.pass(randomHex(), payer, payer.address))).toMatchObject({ kind: 'pass' })
  expect([asked(), calls()]).toEqual([1, 0])
})
