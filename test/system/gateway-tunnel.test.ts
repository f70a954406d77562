import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { type Address, encodeDeployData, zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import { createGateway } from '../../gateway/gateway.ts'
import { createTunnelHub } from '../../gateway/tunnels/tunnel-hub.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { resolverAbi, resolverBytecode } from '../../protocol/chain/contracts.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import type { RequestListener } from '../../protocol/http/listener.ts'
import { parseName } from '../../protocol/name.ts'
import { deployRegistry, openContractsOnChain, registerOnChain } from '../support/contracts-on-chain.ts'
import { domain, newAccount, openTunnel } from '../support/tunnels.ts'

/** Names on a real chain, a gateway that reads them, and the account of the provider `alice` at home. */
async function setup() {
  const stack = new AsyncDisposableStack()
  const chain = stack.use(await openContractsOnChain())
  const account = newAccount()
  await chain.unlock(account.address)
  const registry = await deployRegistry(chain)
  const clock = systemClock
  const log = createTestLog()
  const gateway = stack.use(
    await createGateway(
      {
        clock,
        log,
        names: createNameReader({ client: chain.client, clock, log }, { registry, pollIntervalMs: 10 }),
        openTunnels: (facts) => createTunnelHub({ ...facts, clock, log, domain }),
      },
      {
        host: '127.0.0.1',
        port: 0,
        shutdownTimeoutMs: 5_000,
        info: {
          chainId: 31_337,
          escrow: zeroAddress,
          registry,
          usdc: zeroAddress,
          peers: [],
          version: '0.0.0',
        },
      },
    ),
  )
  const resolver = await chain.deploy(
    encodeDeployData({
      abi: resolverAbi,
      bytecode: resolverBytecode,
      args: [account.address, account.address, gateway.info.tunnel, '0x1234'],
    }),
  )
  await registerOnChain(chain, { registry, name: parseName('alice'), owner: account.address, resolver })
  const call = async (path = '/'): Promise<IncomingMessage> => {
    const headers = { host: `alice.${gateway.domain}` }
    const request = httpRequest({ host: gateway.host, port: gateway.port, agent: false, path, headers }).end()
    return (await once(request, 'response'))[0]
  }
  const open = (handler: RequestListener) => openTunnel({ tunnelUrl: gateway.info.tunnel }, account, handler)
  return {
    gateway,
    log,
    call,
    open,
    setAddress: (address: Address) =>
      chain.send({
        from: account.address,
        to: resolver,
        abi: resolverAbi,
        functionName: 'setAddr',
        args: [address],
      }),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const codeOf = async (answer: IncomingMessage) => JSON.parse(await text(answer)).code

test('a registered provider without a port is called by its name, through its tunnel', async () => {
  await using s = await setup()
  expect(await codeOf(await s.call())).toBe('provider_offline')
  const tunnel = s.open((request, response) => {
    response.writeHead(200, ['x-host', String(request.headers['host'])])
    response.end(request.url)
  })
  await tunnel.connected
  const answer = await s.call('/bafy/x?y')
  expect(answer.headers['x-host']).toBe(`alice.${s.gateway.domain}`)
  expect(await text(answer)).toBe('/bafy/x?y')
  await tunnel[Symbol.asyncDispose]()
})

test('a tunnel ends when the name goes to another account', async () => {
  await using s = await setup()
  await using tunnel = s.open((_, response) => void response.writeHead(200, []).end('mine'))
  await tunnel.connected
  expect(await text(await s.call())).toBe('mine')
  await s.setAddress('0x00000000000000000000000000000000000000b1')
  // The watch on names sees the change some milliseconds later.
  let status = 200
  while (status === 200) {
    const answer = await s.call()
    answer.resume()
    status = answer.statusCode ?? 0
  }
  expect(await codeOf(await s.call())).toBe('provider_offline')
})

test('a gateway that closes lets the call in a tunnel finish', async () => {
  await using s = await setup()
  const held = Promise.withResolvers<() => void>()
  await using tunnel = s.open((_, response) => {
    response.writeHead(200, [])
    response.write('first ')
    held.resolve(() => void response.end('last'))
  })
  await tunnel.connected
  const answer = await s.call()
  const finish = await held.promise
  const closed = s.gateway[Symbol.asyncDispose]()
  finish()
  expect(await text(answer)).toBe('first last')
  await closed
})
