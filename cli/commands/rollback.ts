import type { Params } from '../../protocol/program.ts'
import { type CommandContext, defineCommand, usageError } from '../command.ts'
import { announceRelease, envDigestKeyOf, publishRelease, type Release } from '../deploy/release.ts'
import { agreeOnTerms, assertEgressOffered, assertLimitsOffered, findTargets } from '../deploy/targets.ts'
import { parseWholeNumber } from '../duration.ts'
import { compareSettings } from '../history/compare-versions.ts'
import { fetchProgram } from '../history/fetch-program.ts'
import { parseMessage } from '../history/message.ts'
import { dirOptions, readProjectName } from '../history/open-history.ts'
import { digestEnv, findVersion, readVersions, type Version } from '../history/version-file.ts'
import { parseHttpUrl, readGatewayInfo } from '../market/market.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions, writeOptions } from '../market/options.ts'
import { marketKey } from '../market/resolve-provider.ts'
import { computeIds } from '../project/packed-program.ts'
import { assertNothingSecret, envOptions, gatherEnv } from '../secrets/deploy-env.ts'

export const rollback = defineCommand({
  usage: 'rollback [version]',
  details:
    'Deploys an earlier version again, by default the last but one: its program, which is fetched and not built, with its\n' +
    'params, limits, policy, payer and providers. Only the secrets are those of now, as their old values are kept nowhere; what\n' +
    'differs from then is said before anything is signed. It gets a new CID and a new number, and nothing ends: the CID of each\n' +
    'version goes on answering.',
  options: {
    ...dirOptions,
    ...envOptions,
    message: { type: 'string', short: 'm', value: '<text>', help: 'A note for "khachapuri versions"' },
    keeper: { type: 'string', value: '<url>', help: "Where it is kept (default: the version's keeper)" },
    ...writeOptions,
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
  },
  examples: ['rollback', 'rollback 3 --yes --message "4 was too slow"'],
  async run({ positionals: [numberText], values }, context) {
    const message = parseMessage(values.message)
    const project = await readProjectName(values.dir, context)
    const writer = await openWriter(values, context)
    const { market, account } = writer
    const key = { project, market: await marketKey(writer, context.signal), owner: account.address }
    const all = await readVersions(key, context)
    const version = chooseVersion(all, numberText)

    const keeperUrl = parseHttpUrl('--keeper', values.keeper ?? version.keeper)
    const openAccount = async () => account
    const zip = await fetchProgram(version, { keeperUrl, openAccount }, context.signal)
    const secrets = await gatherEnv({ path: values.dir, project, account }, values, context)
    if (version.isPublic) assertNothingSecret(secrets)
    const gateway = await readGatewayInfo(market.gateway, context.signal)
    const names = version.providers.map(({ name }) => name)
    const acceptIdentity = values['accept-identity'] ?? false
    const targets = await findTargets(names, { writer, gateway, acceptIdentity }, context)
    assertEgressOffered(targets, version.spec.limits.egress)
    assertLimitsOffered(targets, version.spec.limits)
    const release: Release = {
      project,
      zip,
      ids: await computeIds(zip, version.spec.params as Params),
      draft: {
        ...version.spec,
        env: secrets.env,
        providers: targets.map(({ provider }) => provider.address),
        terms: agreeOnTerms(targets),
        createdAt: Math.floor(context.clock.nowMs() / 1000),
      },
      targets,
      envOrigin: secrets.origin,
      keeperUrl,
      isPublic: version.isPublic,
      isEncrypted: version.encryptedCid !== null,
      message,
      from: version.number,
    }
    const digests = digestEnv(secrets.env, await envDigestKeyOf(project, writer))
    tellDifferences({ version, digests, latest: all.at(-1) }, context)
    announceRelease(release, context)
    if (values['dry-run']) {
      context.print('Nothing was published (--dry-run).', {
        dryRun: true,
        version: version.number,
        ...release.ids,
      })
      return
    }
    if (!values.yes) await context.confirm('Go ahead?')
    await publishRelease(release, writer, context)
  },
})

function chooseVersion(all: readonly Version[], numberText: string | undefined): Version {
  if (numberText !== undefined)
    return findVersion(all, parseWholeNumber('the version', numberText, { min: 1, max: 1e9 }))
  const before = all.at(-2)
  if (before) return before
  throw usageError('There is no version before the last one.', 'See "khachapuri versions".')
}

/** What is different from the version of then (secrets only), and from the one that is the latest now. */
function tellDifferences(
  {
    version,
    digests,
    latest,
  }: { version: Version; digests: Readonly<Record<string, string>>; latest: Version | undefined },
  { note }: CommandContext,
): void {
  const said = version.message === null ? '' : ` (${version.message})`
  note(`Version ${version.number}${said} is deployed again, with its settings and the secrets of now.`)
  for (const { name, change } of compareSettings(version, { ...version, env: digests }))
    note(`  ${name} ${secretChanges[change]}`)
  if (!latest || latest === version) return
  for (const { kind, name, before, after } of compareSettings(latest, version)) {
    if (kind === 'env') continue
    const shown = [before, after].map((value) => (value === undefined ? 'nothing' : JSON.stringify(value)))
    note(`  ${kind} ${name}: now ${shown[0]}, then ${shown[1]}`)
  }
}

const secretChanges = {
  added: 'is a secret that it did not have then',
  removed: 'was a secret of it then, and is none now',
  changed: 'has another value than then',
} as const
