import { limits } from '../../protocol/limits.ts'
import { defineCommand, usageError } from '../command.ts'
import { draftDeployment, parseTerms, policyOptions } from '../deploy/draft.ts'
import { announceRelease, publishRelease, type Release } from '../deploy/release.ts'
import { agreeOnTerms, assertEgressOffered, assertLimitsOffered, findTargets } from '../deploy/targets.ts'
import { parseMessage } from '../history/message.ts'
import { parseHttpUrl, readGatewayInfo } from '../market/market.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions } from '../market/options.ts'
import { assertOwner, readDeploymentName } from '../names/read-name.ts'
import { parseParams } from '../project/manifest.ts'
import { computeIds, openProgram, resolvePath } from '../project/packed-program.ts'
import { assertNothingSecret, envOptions, gatherEnv } from '../secrets/deploy-env.ts'

export const deploy = defineCommand({
  usage: 'deploy [dir|zip]',
  details:
    'Builds the program, uploads it, signs a spec with limits and policy, seals it for the providers, uploads it, and\n' +
    'fetches both again before it prints the callable CID. Then each provider is asked which programId it would run.\n' +
    'Secrets come from .env (or secret), one NAME=value a line, and from "khachapuri secret put", which wins. They are sealed\n' +
    'for the providers that you name:\n' +
    'THOSE PROVIDERS CAN READ THEM, as they run the program; nobody else can.\n' +
    'With --name, a name of yours ("khachapuri name register") stands for it and its providers afterwards.',
  options: {
    provider: { type: 'string', multiple: true, value: '<name>', help: 'Who may run it' },
    public: { type: 'boolean', help: 'Publish the spec unsealed; without --provider anybody may run it' },
    params: { type: 'string', value: '<json>', help: 'Public params in place of those in the manifest' },
    ...envOptions,
    'encrypt-program': { type: 'boolean', help: 'Encrypt the zip, too: only the providers can read it' },
    name: { type: 'string', value: '<name>', help: 'Point this name of yours to it, once it is there' },
    message: { type: 'string', short: 'm', value: '<text>', help: 'A note for "khachapuri versions"' },
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
    'deploy --provider alice --provider bob --name thumbs',
    'deploy --provider alice --encrypt-program -m "first try with customers"',
  ],
  async run({ positionals: [path = '.'], values }, context) {
    const isPublic = values.public ?? false
    const names = values.provider ?? []
    assertProviders(names, isPublic)
    const isEncrypted = values['encrypt-program'] ?? false
    if (isPublic && isEncrypted)
      throw usageError('--public and --encrypt-program exclude each other.', 'The key would be public, too.')
    if (values.record !== undefined && !isPublic)
      throw usageError(
        'Only a public deployment is recorded: nobody else could run a sealed one again.',
        'Add --public, or leave --record out.',
      )
    const message = parseMessage(values.message)
    const program = await openProgram(path, context)
    const terms = parseTerms(values, program.manifest)
    const params = values.params === undefined ? program.manifest.params : parseParams(values.params)
    const writer = await openWriter(values, context)
    const { market, account } = writer
    const project = program.manifest.name
    const secrets = await gatherEnv({ path, project, account }, values, context)
    if (isPublic) assertNothingSecret(secrets)
    const gateway = await readGatewayInfo(market.gateway, context.signal)
    // A name that is none, or somebody else's, is told while nothing is published.
    const named =
      values.name === undefined ? undefined : await readDeploymentName(values.name, writer, context)
    if (named) assertOwner(named, account.address)
    const acceptIdentity = values['accept-identity'] ?? false
    const targets = await findTargets(names, { writer, gateway, acceptIdentity }, context)
    assertEgressOffered(targets, terms.limits.egress)
    assertLimitsOffered(targets, terms.limits)
    const ids = await computeIds(program.zip, params)
    const draft = draftDeployment(
      {
        market,
        manifest: program.manifest,
        program: ids.program,
        params,
        env: secrets.env,
        providers: targets.map(({ provider }) => provider.address),
        agreedTerms: agreeOnTerms(targets),
        owner: account.address,
        nowMs: context.clock.nowMs(),
      },
      terms,
    )
    const release: Release = {
      project,
      zip: program.zip,
      sourceMap: program.sourceMap,
      ids,
      draft,
      targets,
      envOrigin: secrets.origin,
      keeperUrl: parseHttpUrl('--keeper', values.keeper ?? gateway.keeper),
      isPublic,
      isEncrypted,
      message,
      from: resolvePath(context.cwd, path),
      named,
    }
    announceRelease(release, context)
    if (values['dry-run']) {
      const facts = { dryRun: true, ...ids, owner: draft.owner, providers: targets.map(({ name }) => name) }
      context.print('Nothing was published (--dry-run).', facts)
      return
    }
    await publishRelease(release, writer, context)
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
