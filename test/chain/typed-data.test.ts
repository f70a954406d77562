import fc from 'fast-check'
import { artifacts } from 'hardhat'
import {
  getAddress,
  type Hex,
  hashStruct,
  hashTypedData,
  keccak256,
  parseAbi,
  toHex as textToHex,
} from 'viem'
import { expect, test } from 'vitest'
import { type Outcome, outcomes } from '../../protocol/call.ts'
import { hashReceipt } from '../../protocol/receipt.ts'
import { marketDomain, typedDataTypes } from '../../protocol/typed-data.ts'
import { usdc } from '../../protocol/usdc.ts'
import { openContractsOnChain } from '../support/contracts-on-chain.ts'

/** The four objects are defined twice, in Solidity and in TypeScript. These tests keep the definitions one. */

const abi = parseAbi([
  'struct Deployment { address owner; string program; string runtime; bytes32 specDigest; }',
  'struct Pass { address payer; address[] providers; bytes32 deployment; uint64 maxPricePerCall; uint64 maxSpend; uint64 validAfter; uint64 validBefore; bytes32 id; }',
  'struct Voucher { address payer; address provider; uint64 maxAmount; uint32 maxCalls; uint8 epoch; }',
  'struct Receipt { bytes32 callId; bytes32 programId; bytes32 deployment; address payer; address provider; bytes32 requestDigest; bytes32 responseDigest; uint16 status; uint8 outcome; uint64 price; uint64 startedAt; uint32 durationMs; }',
  'function hashDeployment(Deployment) view returns (bytes32)',
  'function hashPass(Pass) view returns (bytes32)',
  'function hashVoucher(Voucher) view returns (bytes32)',
  'function hashReceipt(Receipt) view returns (bytes32)',
  'function digest(bytes32) view returns (bytes32)',
])

const address = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => getAddress(textToHex(bytes)))
const word = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => textToHex(bytes))
const uint = (bits: bigint) => fc.bigInt({ min: 0n, max: 2n ** bits - 1n })
const small = (bits: bigint) => uint(bits).map(Number)

const objects = {
  Deployment: fc.record({ owner: address, program: fc.string(), runtime: fc.string(), specDigest: word }),
  Pass: fc.record({
    payer: address,
    providers: fc.array(address, { maxLength: 4 }),
    deployment: word,
    maxPricePerCall: uint(64n),
    maxSpend: uint(64n),
    validAfter: uint(64n),
    validBefore: uint(64n),
    id: word,
  }),
  Voucher: fc.record({
    payer: address,
    provider: address,
    maxAmount: uint(64n),
    maxCalls: small(32n),
    epoch: small(8n),
  }),
  Receipt: fc.record({
    callId: word,
    programId: word,
    deployment: word,
    payer: address,
    provider: address,
    requestDigest: word,
    responseDigest: word,
    status: small(16n),
    outcome: small(8n),
    price: uint(64n),
    startedAt: uint(64n),
    durationMs: small(32n),
  }),
}

async function setup() {
  const chain = await openContractsOnChain()
  const { bytecode } = await artifacts.readArtifact('TypedDataHarness')
  const harness = await chain.deploy(bytecode as Hex)
  const read = (functionName: string, argument: unknown) =>
    chain.client.readContract({
      address: harness,
      abi,
      functionName,
      args: [argument],
    } as never) as Promise<Hex>
  return { chain, harness, read }
}

test('the struct hashes of random objects are equal in Solidity and in TypeScript', async () => {
  const { chain, read } = await setup()
  await using _ = chain
  for (const name of ['Deployment', 'Pass', 'Voucher', 'Receipt'] as const) {
    await fc.assert(
      fc.asyncProperty(objects[name] as fc.Arbitrary<never>, async (data) => {
        const ours = hashStruct({ types: { [name]: typedDataTypes[name] }, primaryType: name, data } as never)
        expect(await read(`hash${name}`, data), name).toBe(ours)
      }),
      { numRuns: 25 },
    )
  }
})

test('what is signed is equal, domain and all', async () => {
  const { chain, harness, read } = await setup()
  await using _ = chain
  const domain = marketDomain({ chainId: await chain.client.getChainId(), escrow: harness })
  await fc.assert(
    fc.asyncProperty(objects.Voucher, async (message) => {
      const types = { Voucher: typedDataTypes.Voucher }
      const ours = hashTypedData({ domain, types, primaryType: 'Voucher', message })
      const structHash = hashStruct({ types, primaryType: 'Voucher', data: message })
      expect(await read('digest', structHash)).toBe(ours)
    }),
    { numRuns: 10 },
  )
})

test("a receipt's leaf is made of the hash that Solidity makes", async () => {
  const { chain, read } = await setup()
  await using _ = chain
  await fc.assert(
    fc.asyncProperty(
      objects.Receipt,
      fc.constantFrom(...(Object.keys(outcomes) as Outcome[])),
      async (data, outcome) => {
        const startedAt = Number(data.startedAt % 2n ** 50n)
        const { price, ...rest } = data
        const ours = hashReceipt({ ...rest, outcome, priceUsdc: usdc(price), startedAt })
        const theirs = await read('hashReceipt', {
          ...data,
          outcome: outcomes[outcome],
          startedAt: BigInt(startedAt),
        })
        expect(keccak256(theirs)).toBe(keccak256(ours))
      },
    ),
    { numRuns: 10 },
  )
})
