import { createRequire } from 'node:module'
import { defineConfig } from 'hardhat/config'

/** Of the private copy that `run.ts` makes: fewer runs, and the block's producer says which mutant it is. */

const require = createRequire(import.meta.url)
const mutantId = Number(process.env['MUTANT'] ?? 0)

export default defineConfig({
  paths: { sources: 'contracts', tests: { solidity: 'test/contracts' } },
  solidity: {
    version: '0.8.37',
    path: require.resolve('solc/soljson.js'),
    settings: { viaIR: true, optimizer: { enabled: true, runs: 1 }, evmVersion: 'cancun' },
  },
  test: {
    solidity: {
      coinbase: `0x${mutantId.toString(16).padStart(40, '0')}`,
      fuzz: { runs: 32, seed: `0x${'6b68616368617075'.padStart(64, '0')}` },
      invariant: { runs: 1, depth: 1 },
    },
  },
})
