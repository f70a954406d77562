import { join } from 'node:path'
import type { Hex } from 'viem'
import { startScript, type TestProcess } from './child-process.ts'
import type { TestMarket } from './market.ts'

/**
 * A provider of the market in a process of its own, so that it can be killed: `khachapuri provider up`, behind the
 * gateway's tunnel. Under the same name it goes on from the same directory. Resolves when it serves.
 */
export async function startProviderProcess(
  at: TestMarket,
  { name, privateKey }: { readonly name: string; readonly privateKey: Hex },
): Promise<TestProcess> {
  const command = ['cli/main.ts', 'provider', 'up', '--domain', name, '--price', '0.0005', '--json']
  const provider = await startScript([...command, '--yes', '--dir', join(at.user.dir, `.${name}`)], {
    cwd: at.user.dir,
    env: { KHACHAPURI_HOME: join(at.user.dir, '.home'), KHACHAPURI_PRIVATE_KEY: privateKey },
  })
  await provider.waitFor('\n')
  return provider
}
