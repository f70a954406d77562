import { createRequire } from 'node:module'
import hardhatViem from '@nomicfoundation/hardhat-viem'
import { defineConfig } from 'hardhat/config'
import { quickTests, testFolder } from './test/support/quick-tests.ts'

const require = createRequire(import.meta.url)

/** Any fixed number will do: with it a failing run can be repeated. Another one is tried with FUZZ_SEED=0x…. */
const fuzzSeed = process.env['FUZZ_SEED'] ?? `0x${'6b68616368617075'.padStart(64, '0')}`
/** Ten times the effort is ten times the runs of each fuzz and invariant test. */
const effort = Number(process.env['FUZZ_EFFORT'] ?? 1)

if (process.argv.includes('solidity')) console.log(`Fuzz seed ${fuzzSeed}, effort ${effort}`)

export default defineConfig({
  plugins: [hardhatViem, quickTests],
  paths: { sources: 'contracts', tests: { solidity: testFolder } },
  solidity: {
    version: '0.8.37',
    // npm's compiler, which the lockfile pins: a build downloads nothing.
    path: require.resolve('solc/soljson.js'),
    settings: {
      viaIR: true,
      optimizer: { enabled: true, runs: 1_000_000 },
      // The oldest EVM that has what the contracts need (transient storage): the same bytes run on every chain.
      evmVersion: 'cancun',
      // The same sources give the same bytes on every machine.
      metadata: { bytecodeHash: 'none', appendCBOR: false },
    },
  },
  test: {
    solidity: {
      fuzz: { runs: 256 * effort, seed: fuzzSeed },
      // Handlers cannot revert, so a revert is a bug of the contract or of the test.
      invariant: { runs: 32 * effort, depth: 64, failOnRevert: true },
    },
  },
})
