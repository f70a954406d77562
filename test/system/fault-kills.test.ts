import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { promisify } from 'node:util'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { callHeaders } from '../../protocol/call.ts'
import { parseProblem, problemType } from '../../protocol/errors.ts'
import type { TestProcess } from '../support/child-process.ts'
import { echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { startProviderProcess } from '../support/market-process.ts'
import { openWaysToPay, sumMoney, type WayName, type WaysToPay, wayNames } from '../support/ways-to-pay.ts'

/** KH-10, where the provider itself fails: it is killed, or its disk is full, with calls of all five ways in flight. */

const privateKey = generatePrivateKey()
const account = privateKeyToAccount(privateKey)

let at: TestMarket
let dave: TestProcess
let ways: WaysToPay
const cids = { owner: '', caller: '' }

const start = async () => {
  dave = await startProviderProcess(at, { name: 'dave', privateKey })
}

/** Ends it in good order: what is owed is settled. */
async function stop(): Promise<void> {
  dave.signal('SIGTERM')
  expect(await dave.ended).toBe(0)
}

async function kill(): Promise<void> {
  dave.signal('SIGKILL')
  await dave.ended
}

beforeAll(async () => {
  at = await openMarket()
  await at.dev.chain.fund(account.address)
  at.watchEarner('dave', account.address)
  await start()
  const approved = ['approve', 'dave', '--price', '0.001', '--budget', '1', '--yes', '--json']
  expect((await at.user.run(approved)).exitCode).toBe(0)
  ways = await openWaysToPay(at, { name: 'dave', account })
  const flags = ['--provider', 'dave', '--timeout', '60000', '--calls-per-minute', 'none']
  for (const payer of ['owner', 'caller'] as const)
    cids[payer] = (await at.deploy(echoProgram, ...flags, '--payer', payer)).cid
  await stop()
})
afterAll(async () => {
  await dave[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

const cidOf = (way: WayName) => cids[ways.all[way].payerChoice]
const allPrices = () => sumMoney(wayNames.map((way) => ways.all[way].price))

interface OpenCall {
  readonly way: WayName
  readonly outgoing: ClientRequest
  readonly answered: Promise<IncomingMessage>
}

async function open(way: WayName, path: string, method = 'GET'): Promise<OpenCall> {
  const { port, domain } = at.dev.gateway
  const headers = ['host', `dave.${domain}`, ...(await ways.all[way].headers({ cid: cidOf(way) }))]
  const outgoing = request({ port, method, path: `/${cidOf(way)}${path}`, headers, agent: false })
  outgoing.on('error', () => undefined)
  const answered = once(outgoing, 'response').then(([response]) => response as IncomingMessage)
  answered.catch(() => undefined)
  return { way, outgoing, answered }
}

const inAllWays = <T>(act: (way: WayName) => Promise<T>): Promise<T[]> => Promise.all(wayNames.map(act))

/** How an answer ended, in a word: its code, its status, or that it broke off. */
async function endOf({ answered }: OpenCall): Promise<string> {
  const answer = await answered
  let text = ''
  answer.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-10_000)
  })
  await new Promise((resolve) => answer.on('error', () => undefined).on('close', resolve))
  if (!answer.complete) return 'broken off'
  const isProblem = answer.headers['content-type'] === problemType
  return isProblem ? (parseProblem(JSON.parse(text))?.code ?? 'unreadable') : String(answer.statusCode)
}

const endsOf = (calls: readonly OpenCall[]) => Promise.all(calls.map(endOf))

async function callAllWays(path = '/answer'): Promise<string[]> {
  return inAllWays(async (way) => {
    const call = await open(way, path)
    call.outgoing.end()
    return endOf(call)
  })
}

const everyWay = (end: string) => wayNames.map(() => end)

async function readReceiptStatus({ answered }: OpenCall): Promise<number> {
  const callId = (await answered).headers[callHeaders.call]
  return (await at.call({ provider: 'dave', path: `/_/receipts/${callId}` })).status
}

test('what a kill or a full disk cuts off is answered to nobody as whole, and paid by nobody; what comes before and after is', async () => {
  const moved = await ways.movedBy(async () => {
    await start()
    const waiting = await inAllWays((way) => open(way, '/hang'))
    const streaming = await inAllWays((way) => open(way, '/flood'))
    for (const { outgoing } of [...waiting, ...streaming]) outgoing.end()
    // An answer without end is well under way, so the calls before it have begun, too.
    for (const { answered } of streaming) await once(await answered, 'readable')
    await kill()
    expect(await endsOf(streaming)).toEqual(everyWay('broken off'))
    expect(await endsOf(waiting)).toEqual(everyWay('tunnel_lost'))

    await start()
    for (const call of streaming) expect(await readReceiptStatus(call)).toBe(404)
    expect(await callAllWays()).toEqual(everyWay('200'))

    const writing = await inAllWays((way) => open(way, '/body', 'POST'))
    // A call paid by x402 begins when all of its request is there.
    const begun = writing.filter(({ way }) => way !== 'x402')
    for (const { outgoing } of writing) outgoing.write('the first half, ')
    for (const { answered } of begun) await once(await answered, 'readable')
    await limitFiles(dave, '1')
    for (const { outgoing } of writing) outgoing.end('the second half')
    expect(await endsOf(writing)).toEqual(
      wayNames.map((way) => (way === 'x402' ? 'ledger_unavailable' : 'broken off')),
    )
    expect(await callAllWays()).toEqual(everyWay('ledger_unavailable'))
    // Room alone is not enough: what the failure left on the disk is known only after opening again.
    await limitFiles(dave, 'unlimited')
    expect(await callAllWays()).toEqual(everyWay('ledger_unavailable'))

    await kill()
    await start()
    for (const call of begun) expect(await readReceiptStatus(call)).toBe(404)
    expect(await callAllWays()).toEqual(everyWay('200'))
    await stop()
  })
  expect(moved).toEqual(sumMoney([allPrices(), allPrices()]))
})

/** From now on no file of the process may grow beyond so many bytes, as on a full disk. */
async function limitFiles({ pid }: TestProcess, bytes: string): Promise<void> {
  await promisify(execFile)('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`])
}
