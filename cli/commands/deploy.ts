import { type DeploymentDraft, formatDeployment, signDeployment } from '../../protocol/deployment.ts'
import { limits } from '../../protocol/limits.ts'
import { sealSpec } from '../../protocol/seal.ts'
import { formatUsdc } from '../../protocol/usdc.ts'
import { type CommandContext, defineCommand, usageError } from '../command.ts'
import { checkCoverage } from '../deploy/coverage.ts'
import { draftDeployment, parseTerms, policyOptions } from '../deploy/draft.ts'
import { checkProvider } from '../deploy/provider-answers.ts'
import { publishFile } from '../deploy/publish.ts'
import { agreeOnTerms, type DeployTarget, findTargets } from '../deploy/targets.ts'
import { formatBytes } from '../format.ts'
import { parseHttpUrl, readGatewayInfo } from '../market/market.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions } from '../market/options.ts'
import type { Writer } from '../market/write.ts'
import { type EnvFile, readEnvFile } from '../project/env-file.ts'
import { parseParams } from '../project/manifest.ts'
import { computeIds, openProgram, type ProgramIds, resolvePath } from '../project/packed-program.ts'

export const deploy = defineCommand({
  usage: 'deploy [dir|zip]',
  details:
    'Builds the program, uploads it, signs a spec with limits and policy, seals it for the providers, uploads it, and\n' +
    'fetches both again before it prints the callable CID. Then each provider is asked which programId it would run.\n' +
    'Secrets come from .env (or secret), one NAME=value a line. They are sealed for the providers that you name:\n' +
    'THOSE PROVIDERS CAN READ THEM, as they run the program; nobody else can.',
  options: {
    provider: { type: 'string', multiple: true, value: '<name>', help: 'Who may run it' },
    public: { type: 'boolean', help: 'Publish the spec unsealed; without --provider anybody may run it' },
    params: { type: 'string', value: '<json>', help: 'Public params in place of those in the manifest' },
    'env-file': {
      type: 'string',
      value: '<file>',
      help: 'Secrets (default: .env or secret in the directory)',
    },
    'no-env': { type: 'boolean', help: 'Take no secrets along' },
    ...policyOptions,
    keeper: { type: 'string', value: '<url>', help: "Where it is kept (default: the gateway's keeper)" },
    'dry-run': { type: 'boolean', help: 'Show what would be deployed, and publish nothing' },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
  },
  examples: [
    'deploy --provider alice',
    'deploy hello --provider alice --provider bob --owner-per-day 0.5 --json',
    'deploy dist/app.zip --public --payer caller',
  ],
  async run({ positionals: [path = '.'], values }, context) {
    const isPublic = values.public ?? false
    const names = values.provider ?? []
    assertProviders(names, isPublic)
    const program = await openProgram(path, context)
    const terms = parseTerms(values, program.manifest.limits)
    const params = values.params === undefined ? program.manifest.params : parseParams(values.params)
    const envFile = values['no-env'] ? undefined : await findEnv(path, values['env-file'], context)
    const env = envFile?.env ?? {}
    if (isPublic) assertNothingSecret(envFile)

    const writer = await openWriter(values, context)
    const { market, account } = writer
    const gateway = await readGatewayInfo(market.gateway, context.signal)
    const acceptIdentity = values['accept-identity'] ?? false
    const targets = await findTargets(names, { writer, gateway, acceptIdentity }, context)
    const ids = await computeIds(program.zip, params)
    const draft = draftDeployment(
      {
        market,
        manifest: program.manifest,
        program: ids.program,
        params,
        env,
        providers: targets.map(({ provider }) => provider.address),
        agreedTerms: agreeOnTerms(targets),
        owner: account.address,
        nowMs: context.clock.nowMs(),
      },
      terms,
    )
    const keeperUrl = parseHttpUrl('keeper', values.keeper ?? gateway.keeper)
    announce({ draft, ids, targets, envFile, keeperUrl, zipBytes: program.zip.byteLength, isPublic }, context)
    if (values['dry-run']) {
      const facts = { dryRun: true, ...ids, owner: draft.owner, providers: targets.map(({ name }) => name) }
      context.print('Nothing was published (--dry-run).', facts)
      return
    }

    const spec = formatDeployment(await signDeployment(draft, account))
    const sealed = isPublic
      ? spec
      : await sealSpec(
          spec,
          targets.map(({ provider }) => provider.sealKey),
        )
    const publishing = {
      keeperUrl,
      owner: account,
      market: { chainId: market.chainId, escrow: market.contracts.escrow },
    }
    await publishFile(program.zip, publishing, context)
    const deployment = await publishFile(sealed, publishing, context)
    context.note('Published, and fetched again to be sure.')
    const answers = await askTargets(targets, { ...ids, deployment, writer, draft }, context)
    context.print(
      [
        `deployment  ${deployment}`,
        `program     ${ids.program}`,
        `programId   ${ids.programId}`,
        ...answers.map(({ name, url }) => `${name.padEnd(10)}  ${url}`),
        ...answers.slice(0, 1).map(({ url }) => `Try it: curl ${url}`),
      ].join('\n'),
      {
        cid: deployment,
        ...ids,
        owner: draft.owner,
        sealed: !isPublic,
        keeper: keeperUrl.href,
        policy: draft.policy,
        urls: Object.fromEntries(answers.map(({ name, url }) => [name, url])),
        providers: answers,
      },
    )
  },
})

function assertProviders(names: readonly string[], isPublic: boolean): void {
  if (names.length === 0 && !isPublic) {
    throw usageError(
      'Nobody is named who may run it.',
      'Add --provider <name>, such as --provider alice, or --public for anybody.',
    )
  }
  if (new Set(names).size > limits.specProvidersMax) {
    throw usageError(`A deployment names at most ${limits.specProvidersMax} providers.`, 'Make several.')
  }
}

function findEnv(
  path: string,
  named: string | undefined,
  { cwd }: CommandContext,
): Promise<EnvFile | undefined> {
  return readEnvFile(
    named === undefined ? { dir: resolvePath(cwd, path) } : { path: resolvePath(cwd, named) },
  )
}

function assertNothingSecret(envFile: EnvFile | undefined): void {
  const names = Object.keys(envFile?.env ?? {})
  if (!envFile || names.length === 0) return
  throw usageError(
    `With --public the whole world could read ${names.length} secrets of ${envFile.path}.`,
    'Leave --public out to seal them for the providers, or add --no-env.',
  )
}

interface Announcement {
  readonly draft: DeploymentDraft
  readonly ids: ProgramIds
  readonly targets: readonly DeployTarget[]
  readonly envFile: EnvFile | undefined
  readonly keeperUrl: URL
  readonly zipBytes: number
  readonly isPublic: boolean
}

/** Says what is about to be public, who will be able to read the secrets, and who pays, before any of it is done. */
function announce(facts: Announcement, { note }: CommandContext): void {
  const { draft, ids, targets, envFile, keeperUrl, zipBytes, isPublic } = facts
  const who = targets.map(({ name }) => name).join(', ')
  const secrets = Object.keys(draft.env).length
  const { maxUsdcPerDay, maxCallsPerMinute } = draft.policy.ownerPays
  note(`Program ${ids.program} (${formatBytes(zipBytes)}), public, to ${keeperUrl.origin}.`)
  note(isPublic ? 'The spec is public, too.' : `The spec is sealed for ${who}.`)
  if (secrets > 0 && envFile) {
    note(
      `It holds ${secrets} secrets of ${envFile.path}: WHOEVER RUNS ${who.toUpperCase()} CAN READ THEM; nobody else can.`,
    )
  }
  if (draft.payer !== 'caller') {
    const day = maxUsdcPerDay === null ? 'without a limit' : `up to ${formatUsdc(maxUsdcPerDay)} USDC a day`
    const minute = maxCallsPerMinute === null ? '' : ` and ${maxCallsPerMinute} calls a minute`
    note(`${draft.owner} pays for calls of anybody, ${day}${minute} at each provider, within its grants.`)
  }
  if (draft.terms) note(`It accepts the terms ${draft.terms}.`)
}

/** Holds every provider that answers to the computed ids, and says where a grant is missing. */
async function askTargets(
  targets: readonly DeployTarget[],
  facts: ProgramIds & { deployment: string; writer: Writer; draft: DeploymentDraft },
  context: CommandContext,
): Promise<readonly { name: string; url: string; checked: boolean; grant: string | null }[]> {
  const { deployment, writer, draft } = facts
  const answers = []
  for (const { provider, name, url, info } of targets) {
    if (info) await checkProvider({ name, url }, facts, context.signal)
    const needsGrant = info && draft.payer !== 'caller'
    const grant = needsGrant ? await checkCoverage(provider, { writer, info }, context) : null
    answers.push({ name, url: new URL(`/${deployment}/`, url).href, checked: info !== undefined, grant })
  }
  return answers
}
