import fc from 'fast-check'
import { artifacts } from 'hardhat'
import { type Address, domainSeparator, getAddress, type Hex, hashStruct, hashTypedData, toHex } from 'viem'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { marketDomain, typedDataTypes } from '../../protocol/typed-data.ts'
import { type ContractsOnChain, openContractsOnChain } from '../support/contracts-on-chain.ts'

/** What is signed must be the same in TypeScript and in Solidity, to the bit, or nobody can redeem it. */

let chain: ContractsOnChain
let harness: Address
beforeAll(async () => {
  chain = await openContractsOnChain()
  harness = await chain.deploy((await harnessArtifact()).bytecode as Hex)
})
afterAll(() => chain[Symbol.asyncDispose]())

const harnessArtifact = () => artifacts.readArtifact('contracts/mocks/TypedDataHarness.sol:TypedDataHarness')

type FieldType = (typeof typedDataTypes)[keyof typeof typedDataTypes][number]['type']

const bytesOf = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => toHex(bytes))
const address = bytesOf(20).map((hex) => getAddress(hex))

/** Any value of each type that an object uses, its bounds among them. */
const anyOf: Record<FieldType, fc.Arbitrary<unknown>> = {
  address,
  'address[]': fc.array(address, { maxLength: 16 }),
  string: fc.string({ unit: 'binary', maxLength: 80 }),
  bytes32: bytesOf(32),
  uint256: fc.bigInt(0n, 2n ** 256n - 1n),
  uint64: fc.bigInt(0n, 2n ** 64n - 1n),
  uint40: fc.nat(2 ** 40 - 1),
  uint32: fc.nat(2 ** 32 - 1),
  uint16: fc.nat(2 ** 16 - 1),
  uint8: fc.nat(2 ** 8 - 1),
}

const anyMessage = (name: keyof typeof typedDataTypes) =>
  fc.record(Object.fromEntries(typedDataTypes[name].map((field) => [field.name, anyOf[field.type]])))

async function askHarness(functionName: string, argument: unknown): Promise<unknown> {
  const { abi } = await harnessArtifact()
  return chain.client.readContract({ address: harness, abi, functionName, args: [argument] })
}

for (const name of [
  'Deployment',
  'Pass',
  'Voucher',
  'Receipt',
  'ReceiptKey',
  'ReceiptGroup',
  'Approve',
  'Withdraw',
] as const) {
  test(`${name}: viem and Solidity hash it alike, and sign the same digest`, async () => {
    const types: Record<string, readonly { name: string; type: string }[]> = { [name]: typedDataTypes[name] }
    const domain = marketDomain({ chainId: await chain.client.getChainId(), escrow: harness })

    await fc.assert(
      fc.asyncProperty(anyMessage(name), async (message) => {
        const structHash = hashStruct({ types, primaryType: name, data: message })
        expect(await askHarness(`hash${name}`, message)).toBe(structHash)
        expect(await askHarness('digest', structHash)).toBe(
          hashTypedData({ types, primaryType: name, domain, message }),
        )
      }),
      { numRuns: 25 },
    )
  })
}

test('the domain is that of the escrow: its name, version, chain and address', async () => {
  const domain = marketDomain({ chainId: await chain.client.getChainId(), escrow: chain.escrow })
  const read = <F extends 'eip712Domain' | 'DOMAIN_SEPARATOR'>(functionName: F) =>
    chain.client.readContract({ address: chain.escrow, abi: escrowAbi, functionName })
  const [, name, version, chainId, verifyingContract] = (await read('eip712Domain')) as readonly unknown[]

  expect({ name, version, chainId: Number(chainId), verifyingContract }).toEqual({
    ...domain,
    verifyingContract: getAddress(chain.escrow),
  })
  expect(await read('DOMAIN_SEPARATOR')).toBe(domainSeparator({ domain }))
})
