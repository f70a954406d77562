import { defineConfig } from 'vitest/config'

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
            'test/tidy.test.ts',
          ],
          exclude: ['**/node_modules/**'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'system',
          include: ['test/{chain,system,hostile,interop}/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        // `npm run test:acme`: builds an ACME server first, which takes longer than all of its tests.
        test: {
          name: 'acme',
          include: ['test/acme/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
})
