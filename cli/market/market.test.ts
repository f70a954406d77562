import { mkdir, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { listen } from '../../protocol/http/listen.ts'
import { createTestUser } from '../testing.ts'
import { readGatewayInfo } from './market.ts'

const address = `0x${'00'.repeat(19)}01`
const info = {
  domain: 'localhost:8080',
  chainId: 31_337,
  escrow: address,
  registry: address,
  usdc: address,
  keeper: 'http://localhost:8080/',
  tunnel: 'ws://localhost:8080/_/tunnel',
  peers: [],
  version: '0.1.0',
}

/** A server that says this of itself. */
const answering = (body: unknown, status = 200) =>
  listen({
    host: '127.0.0.1',
    port: 0,
    shutdownTimeoutMs: 0,
    onRequest: (_request, response) => {
      response.writeHead(status, ['content-type', 'application/json'])
      response.end(typeof body === 'string' ? body : JSON.stringify(body))
    },
  })

test('a gateway is known by what it says of itself', async () => {
  await using gateway = await answering(info)
  expect(await readGatewayInfo(gateway.url, AbortSignal.timeout(60_000))).toEqual(info)
})

test.each([
  ['no JSON', '<html>'],
  ['another kind of object', { hello: 'world' }],
  ['a wrong address', { ...info, escrow: '0x12' }],
  ['a domain that leads elsewhere', { ...info, domain: 'evil.example/' }],
  ['a domain with a user', { ...info, domain: 'x@evil.example' }],
  ['an empty domain', { ...info, domain: '' }],
])('%s instead of a gateway is refused', async (_what, body) => {
  await using server = await answering(body)
  await expect(readGatewayInfo(server.url, AbortSignal.timeout(60_000))).rejects.toMatchObject({
    code: 'config_invalid',
  })
})

test('an error and a flood are refused, too', async () => {
  await using broken = await answering(info, 500)
  await expect(readGatewayInfo(broken.url, AbortSignal.timeout(60_000))).rejects.toMatchObject({
    code: 'config_invalid',
  })
  await using flood = await answering('x'.repeat(2 ** 20))
  await expect(readGatewayInfo(flood.url, AbortSignal.timeout(60_000))).rejects.toMatchObject({
    code: 'content_too_large',
  })
})

test('a market file is found from a folder below it, and one of a market that has gone says what to do', async () => {
  await using user = await createTestUser()
  await using gone = await answering(info)
  const { url } = gone
  await gone[Symbol.asyncDispose]()
  const market = {
    gateway: url.href,
    rpc: url.href,
    chainId: 31_337,
    contracts: { usdc: address, escrow: address, registry: address },
  }
  await mkdir(`${user.dir}/.khachapuri`)
  await writeFile(`${user.dir}/.khachapuri/market.json`, JSON.stringify(market))
  await mkdir(`${user.dir}/one/two`, { recursive: true })
  const result = await user.run(['balance', address, '--json'], { cwd: `${user.dir}/one/two` })
  expect(result.json()).toMatchObject({
    code: 'market_not_running',
    hint: 'Start the market again with "npm start".',
  })
})
