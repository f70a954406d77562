import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../protocol/base/clock.ts'
import { importFile } from '../../../protocol/ipfs/import-file.ts'
import { uploadCar } from '../../../protocol/ipfs/upload-client.ts'
import { formatUsdc, usdc } from '../../../protocol/usdc.ts'
import { openRpcProxy } from '../../../test/support/rpc-proxy.ts'
import { requestHttp } from '../../http.ts'
import { createUserInMarket, type UserInMarket } from '../../market/testing-user.ts'
import { type ServingCommand, startServing } from '../../testing.ts'

/** KH-16: what an operator changes without deploying anything anew. */

let at: UserInMarket
let running: ServingCommand
const up = ['provider', 'up', '--domain', 'carol', '--json']
beforeAll(async () => {
  at = await createUserInMarket()
  running = await startServing(at.user, [...up, '--price', '0.0002'])
})
afterAll(async () => {
  await running.stop()
  await at[Symbol.asyncDispose]()
})

const signal = new AbortController().signal
const get = async (url: string) => {
  const { status, body } = await requestHttp({ url: new URL(url), bytesMax: 2 ** 16 }, signal)
  return { status, text: Buffer.from(body).toString() }
}
const run = async (line: string) => {
  const result = await at.user.run([...line.split(' '), '--json'])
  return { ...result, answer: result.json<Record<string, unknown>>() }
}
const url = (path: string) => `http://carol.${at.market.gateway.domain}/${path}`
const readInfo = async () => JSON.parse((await get(url('_/info'))).text)
const restart = async (...flags: string[]) => {
  expect((await running.stop()).exitCode).toBe(0)
  running = await startServing(at.user, [...up, ...flags])
  return JSON.parse(running.first)
}
const deploy = async () => {
  const { exitCode, answer } = await run('deploy app --provider carol')
  expect(exitCode).toBe(0)
  return (answer as { urls: Record<string, string> }).urls['carol'] as string
}
/** The provider hears of a grant with its next look at the chain. */
const call = async (of: string) => {
  for (;;) {
    const answer = await get(`${of}hello`)
    if (!answer.text.includes('grant_missing')) return answer
  }
}
const greeting = { status: 200, text: '{"greeting":"Hello, world!"}' }

describe('the price', () => {
  test('changes at once, for calls too, and holds at the next start', async () => {
    await run('approve carol --price 0.0005 --budget 0.01 --yes')
    const deployed = await deploy()
    expect(await call(deployed)).toEqual(greeting)
    const { answer } = await run('provider price 0.0005')
    expect(answer).toEqual({ priceUsdc: '500', previousUsdc: '200', isRunning: true })
    expect(await readInfo()).toMatchObject({ price: '500' })
    expect(await call(deployed)).toEqual(greeting)
    expect(await restart()).toMatchObject({ priceUsdc: '500', registered: [] })
    // Stopping settled one call at each price.
    expect((await run('allowance carol')).answer).toMatchObject({ grant: { spentUsdc: '700' } })
  })

  test('of a provider that does not run is that of its next start, and a flag there is kept', async () => {
    await running.stop()
    expect((await run('provider price 0.0003')).answer).toEqual({ priceUsdc: '300', isRunning: false })
    running = await startServing(at.user, up)
    expect(JSON.parse(running.first)).toMatchObject({ priceUsdc: '300' })
    expect(await restart('--price', '0.0004')).toMatchObject({ priceUsdc: '400' })
    expect(await restart()).toMatchObject({ priceUsdc: '400' })
  })
})

describe('the key', () => {
  test('rotates: old deployments go on, new ones are sealed for the new key, and who knew the old one stops', async () => {
    const deployed = await deploy()
    const { kid: knownKid, owner } = (await run('resolve carol')).answer
    const { answer } = await run('provider rotate-key')
    expect(answer).toMatchObject({ retiredKid: knownKid, isRunning: true, done: ['set the public key'] })
    expect(await readInfo()).toMatchObject({ kid: answer['kid'] })
    expect(await call(deployed)).toEqual(greeting)

    const stopped = await run('resolve carol')
    expect(stopped.exitCode).toBe(1)
    expect(stopped.answer).toMatchObject({
      code: 'identity_changed',
      detail: `"carol" has another key for secrets: its key was ${knownKid} and is ${answer['kid']}. Its account is the same, and so is the owner of the name, who published it.`,
      hint: expect.stringContaining('provider rotate-key'),
      known: { kid: knownKid, owner },
    })
    expect((await run('deploy app --provider carol')).exitCode).toBe(1)
    expect((await run('resolve carol --accept-identity')).answer).toMatchObject({ kid: answer['kid'] })

    // A new process has nothing in memory: it opens the old seal with the retired key.
    await restart()
    expect(await call(deployed)).toEqual(greeting)
    expect(await call(await deploy())).toEqual(greeting)
  })

  test('that was made while the provider was away is published by its next start', async () => {
    await running.stop()
    const { answer } = await run('provider rotate-key')
    expect(answer).toMatchObject({ isRunning: false, done: [] })
    running = await startServing(at.user, up)
    expect(JSON.parse(running.first)).toMatchObject({ registered: ['set the public key'] })
    expect((await run('resolve carol --accept-identity')).answer).toMatchObject({ kid: answer['kid'] })
  })
})

describe('the endpoint', () => {
  test('moves to another gateway: callers of either find it, and it holds at the next start', async () => {
    const deployed = await deploy()
    const second = await startServing(at.user, ['gateway', 'up', '--port', '0', '--allow-private', '--json'])
    const { domain } = JSON.parse(second.first)
    const tunnel = `ws://${domain}/_/tunnel`
    const { answer } = await run(`provider endpoint ${tunnel}`)
    expect(answer).toEqual({ endpoint: tunnel, isRunning: true, done: [`set the server to ${tunnel}`] })
    expect((await run('resolve carol')).answer).toMatchObject({ server: tunnel })
    const atSecond = deployed.replace(at.market.gateway.domain, domain)
    expect(await call(atSecond)).toEqual(greeting)
    expect(await restart()).toMatchObject({ server: tunnel, registered: [] })
    expect(await call(atSecond)).toEqual(greeting)

    // A flag says otherwise, and is kept.
    const { tunnel: first } = at.market.gateway.info
    expect(await restart('--tunnel', first)).toMatchObject({ server: first })
    expect(await restart()).toMatchObject({ server: first, registered: [] })
    expect(await call(deployed)).toEqual(greeting)
    await second.stop()
  })

  test('can be no address where nobody listens, and no tunnel that takes nobody', async () => {
    expect((await run('provider endpoint https://carol.example')).answer).toMatchObject({
      code: 'config_invalid',
      hint: expect.stringContaining('--port'),
    })
    expect((await run('provider endpoint ftp://carol.example')).answer).toMatchObject({
      code: 'usage_invalid',
    })
    expect((await run('provider endpoint')).exitCode).toBe(2)
    expect((await run('resolve carol')).answer).toMatchObject({ server: at.market.gateway.info.tunnel })
  })

  test('of a provider with a port is any address that leads there', async () => {
    const line = ['provider', 'up', '--domain', 'dave', '--port', '0', '--json']
    const dave = await startServing(at.user, line)
    const { server } = JSON.parse(dave.first)
    const local = server.replace('127.0.0.1', 'localhost')
    expect((await run(`provider endpoint ${local}/ignored?x --domain dave`)).answer).toMatchObject({
      endpoint: local,
      done: [`set the server to ${local}`],
    })
    expect((await run('resolve dave')).answer).toMatchObject({ server: local })
    expect(JSON.parse((await get(url('_/info').replace('carol', 'dave'))).text)).toMatchObject({
      name: 'dave',
    })
    // Uploads are signed for where the provider is now.
    const { cid, blocks } = await importFile(Buffer.from('moved'))
    const owner = privateKeyToAccount(generatePrivateKey())
    const uploadTo = (origin: string) =>
      uploadCar(
        { clock: systemClock, createNonce: () => randomBytes(32) },
        { keeperUrl: new URL(origin), root: cid, blocks, owner, market: at.market.contracts },
        new AbortController().signal,
      )
    await uploadTo(local)
    await expect(uploadTo(server)).rejects.toMatchObject({ code: 'upload_refused' })
    // Now this machine has two.
    expect((await run('provider price 1')).answer).toMatchObject({
      code: 'usage_invalid',
      detail: 'There are several providers here: carol, dave.',
    })
    await dave.stop()
  })
})

describe('books that were lost', () => {
  test('wait for their operator where the RPC server shows nothing of what it says was paid', async () => {
    await run('approve carol --price 0.0005 --budget 0.01 --yes')
    const deployed = await deploy()
    expect(await call(deployed)).toEqual(greeting)
    await running.stop()
    const { grant } = (await run('allowance carol')).answer as { grant: { spentUsdc: string } }
    await rm(join(at.user.dir, '.home', 'providers', 'carol', 'ledger'), { recursive: true })
    await using forgetful = await openRpcProxy(at.market.chain.rpcUrl, {
      falsify: ({ method }, answer) => (method === 'eth_getTransactionByHash' ? { result: null } : answer),
    })
    running = await startServing(at.user, [...up, '--rpc', forgetful.url.href])
    expect((await run('provider disputes --domain carol')).answer).toEqual({ disputes: [] })
    expect((await call(deployed)).text).toContain('chain_disputed')

    let disputes: { payer: string; spentUsdc: string }[] = []
    while (disputes.length === 0)
      disputes = (await run('provider disputes --domain carol')).answer['disputes'] as typeof disputes
    const [{ payer } = { payer: '' }] = disputes
    expect(disputes).toMatchObject([{ spentUsdc: grant.spentUsdc }])
    const accept = `provider disputes --domain carol accept ${payer}`
    expect((await run(`${accept} 0.0000001`)).answer).toMatchObject({ code: 'usage_invalid' })
    expect((await run(`${accept} 0.000001`)).answer).toMatchObject({ code: 'chain_disputed' })
    expect((await run(`${accept} 1 --trial`)).answer).toMatchObject({ code: 'not_found' })
    expect((await run('provider disputes deny --domain carol')).exitCode).toBe(2)
    expect((await call(deployed)).text).toContain('chain_disputed')
    const spent = formatUsdc(usdc(BigInt(grant.spentUsdc)))
    expect((await run(`${accept} ${spent}`)).answer).toMatchObject({ payer, spentUsdc: grant.spentUsdc })
    expect(await call(deployed)).toEqual(greeting)
    expect((await run('provider disputes --domain carol')).answer).toEqual({ disputes: [] })
    await restart()
  })
})

test('an order for a provider that this machine does not have is refused', async () => {
  for (const order of ['price 1', 'rotate-key', 'endpoint https://x.example']) {
    expect((await run(`provider ${order} --domain nobody`)).answer).toMatchObject({ code: 'usage_invalid' })
  }
})
