import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { HardhatPlugin } from 'hardhat/types/plugins'

export const testFolder = 'test/contracts'
/** Their tests have the code of these libraries within, so it is compiled as it is published. */
const libraryTests = ['GrantSlot.t.sol', 'VoucherRow.t.sol']

/**
 * All other tests deploy what is published (support/Published.sol) and are compiled by the quicker of solc's two ways,
 * which takes seconds instead of minutes. A plugin, because Hardhat compiles files together only where their settings are
 * the same object.
 */
export const quickTests: HardhatPlugin = {
  id: 'quick-tests',
  hookHandlers: {
    config: async () => ({
      default: async () => ({
        async resolveUserConfig(userConfig, resolveConfigurationVariable, next) {
          const config = await next(userConfig, resolveConfigurationVariable)
          const tests = readdirSync(join(config.paths.root, testFolder), { recursive: true })
            .map((file) => String(file).replaceAll('\\', '/'))
            .filter((file) => file.endsWith('.sol') && !libraryTests.includes(file))
          for (const profile of Object.values(config.solidity.profiles)) {
            const [published] = profile.compilers
            if (!published) continue
            const settings = {
              ...published.settings,
              viaIR: false,
              optimizer: { enabled: true, runs: 200, details: { yul: false } },
            }
            const quick = { ...published, settings }
            for (const file of tests) profile.overrides[`${testFolder}/${file}`] = quick
          }
          return config
        },
      }),
    }),
  },
}
