import {
  type Abi,
  type AbiParameter,
  type Address,
  type BaseError,
  decodeAbiParameters,
  encodeFunctionData,
  getAddress,
  type Hex,
  type PublicClient,
  size,
  zeroAddress,
} from 'viem'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { raceSignal } from '../base/signal.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type Name, type NameReader, type NameRecord, nameNode, providersKey } from '../name.ts'
import { registryAbi, resolverAbi } from './contracts.ts'
import { watchNameEvents } from './name-watcher.ts'

export interface NameReaderDeps {
  readonly client: PublicClient
  readonly clock: Clock
  readonly log: Log
}

export interface NameReaderOptions {
  readonly registry: Address
  /** Between two looks for events. */
  readonly pollIntervalMs?: number
}

/** Enough for the longest records, and too little to fill memory with an answer. */
const resolverGasMax = 500_000n

/** Reads names from Registry and Resolver, all of one name at one block. A resolver is anybody's code. */
export function createNameReader(deps: NameReaderDeps, options: NameReaderOptions): NameReader {
  const { client } = deps
  const { registry } = options
  /** Whose events are of interest: those of every resolver that was read lately. */
  const resolvers = new Set<Address>()

  function remember(resolver: Address): void {
    resolvers.delete(resolver)
    resolvers.add(resolver)
    for (const oldest of resolvers) {
      if (resolvers.size <= limits.resolversWatchedMax) break
      resolvers.delete(oldest)
    }
  }

  return {
    async readName(name, signal, atBlock) {
      const blockNumber = atBlock ?? (await reach(client.getBlockNumber({ cacheTime: 0 }), signal))
      const record = await readRecord(client, { registry, name, blockNumber }, signal)
      if (record) remember(record.resolver)
      return record
    },
    watchNames: (onChange) => watchNameEvents(deps, { ...options, resolvers }, onChange),
  }
}

async function readRecord(
  client: PublicClient,
  { registry, name, blockNumber }: { registry: Address; name: Name; blockNumber: bigint },
  signal: AbortSignal,
): Promise<NameRecord | undefined> {
  const node = nameNode(name)
  const atRegistry = { address: registry, abi: registryAbi, args: [node], blockNumber } as const
  const [owner, resolver] = await reach(
    Promise.all([
      client.readContract({ ...atRegistry, functionName: 'owner' }),
      client.readContract({ ...atRegistry, functionName: 'resolver' }),
    ]),
    signal,
  )
  if (owner === zeroAddress || resolver === zeroAddress) return undefined
  const facts = { name, owner: getAddress(owner), resolver: getAddress(resolver), blockNumber }
  const read = (functionName: RecordName, args: readonly unknown[] = []) =>
    callResolver(client, { resolver, functionName, args, blockNumber }, signal)
  const [contenthash, providers, addr, server, pubkey] = await Promise.all([
    read('contenthash', [node]),
    read('text', [node, providersKey]),
    read('addr'),
    read('server'),
    read('pubkey'),
  ])
  const content = parseOptional('contenthash', contenthash, limits.cidBytesMax)
  if (content !== '0x') {
    return {
      kind: 'deployment',
      ...facts,
      contenthash: hexBytes(content),
      providers: parseOptional('text', providers, limits.nameProvidersBytesMax, ''),
    }
  }
  const address = parseRecord('addr', addr, 32)
  if (address === zeroAddress) refuse('The name has no account.')
  return {
    kind: 'provider',
    ...facts,
    address: getAddress(address),
    server: parseRecord('server', server, limits.serverUrlBytesMax),
    publicKey: hexBytes(parseRecord('pubkey', pubkey, limits.publicKeyBytesMax)),
  }
}

const recordTypes = {
  contenthash: 'bytes',
  text: 'string',
  addr: 'address',
  server: 'string',
  pubkey: 'bytes',
} as const
type RecordName = keyof typeof recordTypes

interface ResolverCall {
  readonly resolver: Address
  readonly functionName: RecordName
  readonly args: readonly unknown[]
  readonly blockNumber: bigint
}

/** Bytes that a stranger's contract answers with; none where it reverts or is no contract. */
async function callResolver(
  client: PublicClient,
  { resolver, functionName, args, blockNumber }: ResolverCall,
  signal: AbortSignal,
): Promise<Hex> {
  // `addr` has an overload by node, which no record is read with.
  const abi = resolverAbi.filter(
    (part) => part.type === 'function' && part.name === functionName && part.inputs.length === args.length,
  )
  const data = encodeFunctionData({ abi: abi as Abi, functionName, args })
  const call = client
    .call({ to: resolver, data, blockNumber, gas: resolverGasMax })
    .then((answer) => answer.data ?? '0x')
    .catch((error: unknown) => {
      if (isContractFault(error)) return '0x' as const
      throw error
    })
  return reach(call, signal)
}

/** As `parseRecord`, for records that not every resolver has. */
function parseOptional(name: RecordName, data: Hex, bytesMax: number, none = '0x'): string {
  return size(data) === 0 ? none : parseRecord(name, data, bytesMax)
}

const hexBytes = (hex: string): Uint8Array => Buffer.from(hex.slice(2), 'hex')

/** A record is at most an offset, a length and its padded bytes; whatever is longer is not even looked at. */
function parseRecord(name: RecordName, data: Hex, bytesMax: number): Hex {
  const type = recordTypes[name]
  if (size(data) === 0) refuse(`The resolver of this name does not answer ${name}().`)
  if (size(data) > 96 + bytesMax) refuse(`${name}() of this name is longer than ${bytesMax} bytes.`)
  try {
    const [value] = decodeAbiParameters([{ type }] as [AbiParameter], data)
    if (type !== 'string' || Buffer.byteLength(value as string) <= bytesMax) return value as Hex
  } catch (cause) {
    refuse(`${name}() of this name is malformed.`, cause)
  }
  return refuse(`${name}() of this name is longer than ${bytesMax} bytes.`)
}

/** Whether the contract is to blame, and not the way to the chain. */
function isContractFault(error: unknown): boolean {
  const walk = (error as Partial<BaseError>).walk?.bind(error)
  if (!walk) return false
  const faults = ['ExecutionRevertedError', 'RawContractError', 'InvalidInputRpcError']
  const isFault = (part: unknown) =>
    part instanceof Error &&
    (faults.includes(part.name) || /out of gas|invalid opcode|revert/i.test(part.message))
  return walk(isFault) !== null
}

async function reach<T>(request: Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await raceSignal(request, signal)
  } catch (cause) {
    throw new ProtocolError('chain_unreachable', 'The chain that knows names does not answer.', {
      hint: 'Send it again later.',
      cause,
    })
  }
}

function refuse(message: string, cause?: unknown): never {
  throw new ProtocolError('provider_address_blocked', message, {
    hint: 'Its owner has to set the records of its resolver.',
    cause,
  })
}
