import { createLog } from '../../protocol/base/log.ts'
import { isCharged } from '../../protocol/call.ts'
import { isProtocolError } from '../../protocol/errors.ts'
import { formatUsdc, parseUsdc, type Usdc } from '../../protocol/usdc.ts'
import { type CommandContext, defineCommand, usageError } from '../command.ts'
import { askProviderInfo } from '../deploy/provider-answers.ts'
import { parseCount } from '../duration.ts'
import { formatBytes } from '../format.ts'
import { providerUrl, readGatewayInfo } from '../market/market.ts'
import { openMarket } from '../market/open.ts'
import { type MarketFlags, marketOptions } from '../market/options.ts'
import { readProvider } from '../market/resolve-provider.ts'
import { priceDefault } from '../operate/default-price.ts'
import { egressPrivateOption } from '../operate/egress.ts'
import { nativeRootOption, parseNativeRoot } from '../operate/native.ts'
import { readEnvFile } from '../project/env-file.ts'
import { parseParams } from '../project/manifest.ts'
import { computeIds, openProgram, resolvePath } from '../project/packed-program.ts'
import { createProgramServer, type ProgramServer, type ServedCall } from '../project/serve-program.ts'
import { watchProject } from '../project/watch-project.ts'

export const dev = defineCommand({
  usage: 'dev [dir]',
  details:
    'Runs the program as "run" does, and builds it anew when a file of its directory changes. New calls then go to the new\n' +
    'build; calls under way end in the old one. A build that fails is told, and the last good one goes on. Of each call there is\n' +
    'a line with status, time, memory of the process, and what the call would cost a deployment whose owner pays.',
  options: {
    port: { type: 'string', value: '<port>', default: '8787', help: 'Where it listens; 0 takes a free one' },
    'env-file': {
      type: 'string',
      value: '<file>',
      help: 'Secrets (default: .env or secret in the directory)',
    },
    params: { type: 'string', value: '<json>', help: 'Public params in place of those in the manifest' },
    price: { type: 'string', value: '<usdc>', help: `What a call would cost (default ${priceDefault})` },
    provider: { type: 'string', value: '<name>', help: 'Take the price of this provider instead' },
    ...egressPrivateOption,
    ...nativeRootOption,
    ...marketOptions,
  },
  examples: ['dev', 'dev hello --port 0 --provider alice'],
  async run({ positionals: [path = '.'], values }, context) {
    const { cwd, note, print, signal } = context
    const port = parseCount('port', values.port, { min: 0, max: 65_535 })
    const nativeRoot = parseNativeRoot(values)
    const egressPrivate = values['egress-private'] ?? false
    const priceUsdc = await readPrice(values, context)
    const dir = resolvePath(cwd, path)
    using watching = watchProject(dir, context)
    await using server = await createProgramServer(
      createLog({ level: 'silent' }),
      { port, nativeRoot, egressPrivate, onCall: (call) => note(formatCall(call, priceUsdc)) },
      context,
    )
    const build = createBuilder({ path, flags: values, server }, context)
    await build()
    print(`http_url=${server.url.href}`, { url: server.url.href })
    note(`Watching ${dir}: curl ${server.url.href}  (Ctrl-C stops)`)
    try {
      for (;;) {
        await watching.changed(signal)
        await build()
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  },
})

async function readPrice(
  flags: MarketFlags & { readonly price?: string | undefined; readonly provider?: string | undefined },
  context: CommandContext,
): Promise<Usdc> {
  if (flags.provider === undefined) return parseUsdc(flags.price ?? priceDefault)
  if (flags.price !== undefined) throw usageError('--price and --provider exclude each other.', 'Use one.')
  const at = await openMarket(flags, context)
  const { name } = await readProvider(flags.provider, at, context)
  const { domain } = await readGatewayInfo(at.market.gateway, context.signal)
  const { price } = await askProviderInfo(
    { name, url: providerUrl(at.market.gateway, domain, name) },
    context.signal,
  )
  return price
}

interface BuilderParts {
  readonly path: string
  readonly flags: { readonly 'env-file'?: string | undefined; readonly params?: string | undefined }
  readonly server: Pick<ProgramServer, 'start' | 'fail' | 'url'>
}

/** Gives what builds and starts the program as it is now, if it is not the one that runs. What is wrong with it is told. */
function createBuilder({ path, flags, server }: BuilderParts, context: CommandContext): () => Promise<void> {
  const { clock, cwd, note, signal } = context
  let running: string | undefined
  let hasFailed = false

  async function build(): Promise<void> {
    const startedMs = clock.monotonicMs()
    const program = await openProgram(path, context)
    const params = flags.params === undefined ? program.manifest.params : parseParams(flags.params)
    const envFile = flags['env-file']
    const file = await readEnvFile(
      envFile === undefined ? { dir: resolvePath(cwd, path) } : { path: resolvePath(cwd, envFile) },
    )
    const env = file?.env ?? {}
    const { programId } = await computeIds(program.zip, params)
    const made = JSON.stringify([programId, env])
    if (made === running) {
      if (hasFailed) note('It is again what runs.')
      return
    }
    await server.start({ program, params, env })
    running = made
    note(`Built ${programId.slice(0, 18)}… and started in ${Math.round(clock.monotonicMs() - startedMs)} ms.`)
  }

  return async () => {
    try {
      await build()
      hasFailed = false
    } catch (error) {
      signal.throwIfAborted()
      if (!isProtocolError(error)) throw error
      hasFailed = true
      server.fail(error)
      const goesOn = running === undefined ? '' : '\nThe last build goes on.'
      note(`Error: ${error.message}\n${error.hint} (${error.code})${goesOn}`)
    }
  }
}

function formatCall(
  { method, target, status, outcome, problem, tookMs, memoryBytes }: ServedCall,
  priceUsdc: Usdc,
): string {
  const costs = outcome !== undefined && isCharged(outcome, true)
  const how = outcome === undefined || outcome === 'answered' ? '' : ` ${outcome}`
  const line = [
    `${method} ${target}`,
    `${status ?? 'broken off'}${how}`,
    `${tookMs < 10 ? tookMs.toFixed(1) : Math.round(tookMs)} ms`,
    ...(memoryBytes === undefined ? [] : [formatBytes(memoryBytes)]),
    `${costs ? formatUsdc(priceUsdc) : '0'} USDC`,
  ].join('  ')
  return problem === undefined ? line : `${line}\n  ${problem}`
}
