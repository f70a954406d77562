import { defineConfig } from 'vitest/config'

// What takes so long hangs. How fast something is says no limit here: Vitest's own are short for a busy machine.
const limits = { testTimeout: 180_000, hookTimeout: 180_000, expect: { poll: { timeout: 60_000 } } }

// Units stand beside the code and have no sockets to the outside; what needs a chain or several folders is in test/.
export default defineConfig({
  test: {
    // Vitest would leave one of two cores to itself, and nothing here needs it.
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'protocol/**/*.test.ts',
            'provider/**/*.test.ts',
            'gateway/**/*.test.ts',
            'tunnel-client/**/*.test.ts',
            'cli/**/*.test.ts',
            'devnet/**/*.test.ts',
            'examples/**/*.test.ts',
            'bench/**/*.test.ts',
            'test/tidy.test.ts',
          ],
          exclude: ['**/node_modules/**'],
          ...limits,
        },
      },
      {
        test: {
          name: 'system',
          include: ['test/{chain,system,hostile,interop}/**/*.test.ts'],
          ...limits,
        },
      },
      {
        // `npm run test:acme`: builds an ACME server first, which takes longer than all of its tests.
        test: {
          name: 'acme',
          include: ['test/acme/**/*.test.ts'],
          ...limits,
          hookTimeout: 600_000,
        },
      },
    ],
  },
})
