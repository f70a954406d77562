import {
  type Address,
  createTestClient,
  getAddress,
  type Hex,
  http,
  isAddress,
  type PublicClient,
  parseAbi,
} from 'viem'
import { knownChains } from '../../../protocol/chain/addresses.ts'
import { createChainClient, reachChain } from '../../../protocol/chain/client.ts'
import {
  create2Proxy,
  create2ProxyDeployment,
  type PlannedContract,
  planContracts,
  planDevUsdc,
} from '../../../protocol/chain/create2.ts'
import { isDevChain } from '../../../protocol/dev-chain.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import { formatUsdc, parseUsdc } from '../../../protocol/usdc.ts'
import { defineCommand, usageError } from '../../command.ts'
import { openAccount } from '../../keys/account.ts'
import { giveEther } from '../../market/dev-ether.ts'
import { parseHttpUrl } from '../../market/market.ts'
import { accountOptions, writeOptions } from '../../market/options.ts'
import { readEnvSettings } from '../../market/settings.ts'
import { carryOut } from '../../market/write.ts'

export const contractsDeploy = defineCommand({
  usage: 'contracts deploy',
  details:
    'Makes escrow and registry at addresses that follow from their code, the token and the bond, through the\n' +
    `deterministic deployment proxy at ${create2Proxy}: whoever does it gets the same\n` +
    'contracts, which have no owner. What is there already is left alone, so it may be repeated.\n' +
    'The tokens of Base and Base Sepolia are known; a development chain gets one of its own.',
  options: {
    rpc: {
      type: 'string',
      value: '<url>',
      help: 'One JSON-RPC server of the chain, which is believed (default: KHACHAPURI_RPC)',
    },
    usdc: { type: 'string', value: '<address>', help: 'The token, on a chain that is not known' },
    bond: { type: 'string', value: '<usdc>', default: '5', help: 'What stands for each name' },
    ...accountOptions,
    ...writeOptions,
  },
  examples: [
    'contracts deploy --rpc https://sepolia.base.org --dry-run',
    'contracts deploy --rpc http://127.0.0.1:8545 --yes --json',
  ],
  async run({ values }, context) {
    const { signal } = context
    const rpcText = values.rpc ?? readEnvSettings(context.env).rpc
    if (rpcText === undefined) throw usageError('--rpc <url> is missing.', 'Name the chain: --rpc <url>.')
    if (rpcText.includes(',')) {
      throw usageError(
        '"contracts deploy" asks one RPC server, and several are named.',
        'Name one with --rpc <url>. Code and addresses do not depend on what it says; repeat with another to compare.',
      )
    }
    const rpc = parseHttpUrl('--rpc', rpcText)
    const { chainId, client } = await openChain(rpc, signal)
    const chain = { chainId, rpc }
    const bondUsdc = parseUsdc(values.bond)
    const given = values.usdc === undefined ? knownChains[chainId]?.usdc : parseAddress(values.usdc)
    const devUsdc = given === undefined && isDevChain(chain) ? planDevUsdc() : undefined
    const usdc = given ?? devUsdc?.address
    if (usdc === undefined)
      throw usageError(`The USDC of chain ${chainId} is not known.`, 'Name the token: --usdc <address>.')
    if (given) await assertToken(client, given, signal)

    const planned = [...(devUsdc ? [devUsdc] : []), ...planContracts({ usdc, bondUsdc })]
    const missing = await filterMissing(client, planned, signal)
    const addresses = { usdc, ...Object.fromEntries(planned.map(({ name, address }) => [name, address])) }
    const facts = { chainId, ...addresses, bondUsdc, missing: missing.map(({ name }) => name) }
    const lines = Object.entries(addresses).map(([name, address]) => `  ${name.padEnd(9)} ${address}`)
    if (missing.length === 0) {
      const text = [`All contracts are on chain ${chainId}; nothing to do.`, ...lines].join('\n')
      context.print(text, { ...facts, made: [], transactions: [] })
      return
    }

    const account = await openAccount(values, { keys: undefined }, context)
    const isDev = isDevChain(chain)
    if (!(await hasCode(client, create2Proxy, signal))) {
      if (!isDev) throw proxyMissing(chainId)
      if (!values['dry-run']) await makeProxy(rpc, client, signal)
    }
    if (isDev && !values['dry-run'])
      await giveEther({ market: chain, client }, new Set([account.address]), signal)
    const transactions = await carryOut(
      {
        title: `Make ${missing.length} contracts on chain ${chainId}`,
        lines: [...Object.entries(addresses), ['bond', `${formatUsdc(bondUsdc)} USDC for each name`]],
        facts,
        calls: missing.map(({ call }) => call),
      },
      { writer: { market: chain, client, account }, flags: values },
      context,
    )
    if (!transactions) return
    const left = await filterMissing(client, planned, signal)
    if (left.length > 0) throw notMade(left)
    const made = missing.map(({ name }) => name)
    context.print([`Made on chain ${chainId}: ${made.join(', ')}.`, ...lines].join('\n'), {
      ...facts,
      missing: [],
      made,
      transactions,
    })
  },
})

/** What the server says it is: there is no market yet that could say otherwise. */
async function openChain(rpc: URL, signal: AbortSignal): Promise<{ chainId: number; client: PublicClient }> {
  const unnamed = createChainClient({ chainId: 0, rpcUrls: [rpc] })
  const chainId = await reachChain(unnamed.getChainId(), 'what chain is this', signal)
  return { chainId, client: createChainClient({ chainId, rpcUrls: [rpc] }) }
}

function parseAddress(text: string): Address {
  if (isAddress(text)) return getAddress(text)
  throw usageError(`"${text.slice(0, 60)}" is not an address.`, 'Write it with 0x and its checksum.')
}

async function hasCode(client: PublicClient, address: Address, signal: AbortSignal): Promise<boolean> {
  const code: Hex | undefined = await reachChain(client.getCode({ address }), 'look for a contract', signal)
  return code !== undefined && code !== '0x'
}

async function filterMissing(
  client: PublicClient,
  planned: readonly PlannedContract[],
  signal: AbortSignal,
): Promise<PlannedContract[]> {
  const found = await Promise.all(planned.map(({ address }) => hasCode(client, address, signal)))
  return planned.filter((_, index) => !found[index])
}

const decimalsAbi = parseAbi(['function decimals() view returns (uint8)'])

/** The contracts are for ever, and count in millionths. @throws ProtocolError `config_invalid` */
async function assertToken(client: PublicClient, address: Address, signal: AbortSignal): Promise<void> {
  const isThere = await hasCode(client, address, signal)
  const read = () => client.readContract({ address, abi: decimalsAbi, functionName: 'decimals' })
  const decimals = isThere ? await reachChain(read(), 'read the decimals', signal) : undefined
  if (decimals === 6) return
  throw new ProtocolError(
    'config_invalid',
    isThere ? `The token at ${address} has ${decimals} decimals, not 6.` : `There is no token at ${address}.`,
    { hint: 'Give the address of USDC on this chain.' },
  )
}

/** Development chains start without the proxy; one that does not take old transactions lets code be written instead. */
async function makeProxy(rpc: URL, client: PublicClient, signal: AbortSignal): Promise<void> {
  const test = createTestClient({ mode: 'hardhat', transport: http(rpc.href, { retryCount: 0 }) })
  const { signer, gasWei, raw } = create2ProxyDeployment
  await reachChain(test.setBalance({ address: signer, value: gasWei }), 'give ether', signal)
  await client.sendRawTransaction({ serializedTransaction: raw }).catch(() => undefined)
  if (await hasCode(client, create2Proxy, signal)) return
  const runtime: Hex = `0x${raw.slice(raw.indexOf('50fe') + 4, raw.indexOf('1ba022'))}`
  await reachChain(test.setCode({ address: create2Proxy, bytecode: runtime }), 'make the proxy', signal)
}

function proxyMissing(chainId: number): ProtocolError {
  const { signer, gasWei, raw } = create2ProxyDeployment
  return new ProtocolError('config_invalid', `Chain ${chainId} has no deterministic deployment proxy.`, {
    hint: `Send ${gasWei} wei to ${signer}, then the raw transaction in the details; both are the same on every chain.`,
    details: { raw },
  })
}

function notMade(left: readonly PlannedContract[]): ProtocolError {
  const names = left.map(({ name }) => name).join(', ')
  return new ProtocolError(
    'transaction_failed',
    `The transactions were mined, but these are not there: ${names}.`,
    {
      hint: 'Look at the transactions, and run it again.',
    },
  )
}
