import { createRequire } from 'node:module'
import { defineConfig } from 'hardhat/config'
import { quickTests, testFolder } from '../support/quick-tests.ts'

/** Of the private copy in which mutants live: fewer runs, and of the optimizer what fits the stack. */

const require = createRequire(import.meta.url)

export default defineConfig({
  plugins: [quickTests],
  paths: { sources: 'contracts', tests: { solidity: testFolder } },
  solidity: {
    version: '0.8.37',
    path: require.resolve('solc/soljson.js'),
    settings: { viaIR: true, optimizer: { enabled: true, runs: 1 }, evmVersion: 'cancun' },
  },
  test: {
    solidity: {
      fuzz: { runs: 32, seed: `0x${'6b68616368617075'.padStart(64, '0')}` },
      invariant: { runs: 1, depth: 1 },
      // What loops for ever ends soon, and before its events fill the memory.
      gasLimit: 3_000_000_000n,
    },
  },
})
