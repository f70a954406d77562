import hre from 'hardhat'
import { assert } from '../../protocol/base/assert.ts'

/** A process of its own in the private copy: it runs tests for one mutant after the other. See `worker-pool.ts`. */

export interface Order {
  /** Which mutant is alive; 0 is none. */
  readonly mutantId: number
  /** Of Solidity tests, and of the handlers they need. */
  readonly files: readonly string[]
}

export interface Answer {
  readonly passed: boolean
}

process.on('message', async ({ mutantId, files }: Order) => {
  const profile = hre.config.test.solidity.profiles['default']
  assert(profile, 'Hardhat has a default profile of tests')
  profile.coinbase = `0x${mutantId.toString(16).padStart(40, '0')}`
  const test = hre.tasks.getTask(['test', 'solidity'])
  const { success } = (await test.run({ testFiles: [...files], noCompile: true })) as {
    readonly success: boolean
  }
  process.send?.({ passed: success } satisfies Answer)
})
