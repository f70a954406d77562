import { draftToJson } from '../../protocol/deployment.ts'
import { formatUsdc } from '../../protocol/usdc.ts'
import { defineCommand } from '../command.ts'
import { formatBytes } from '../format.ts'
import { openHistory, readProjectName } from '../history/open-history.ts'
import type { Version } from '../history/version-file.ts'
import { formatTime } from '../market/escrow.ts'
import { accountOptions, marketOptions } from '../market/options.ts'
import { countSecrets } from '../secrets/deploy-env.ts'

export const versions = defineCommand({
  usage: 'versions [dir|zip]',
  details:
    "What was deployed from this machine under the name in the program's manifest, by the account, in the market, the newest\n" +
    'first. Every version can still be called under its own CID. The last 100 are remembered, without any secret.',
  options: { ...accountOptions, ...marketOptions },
  examples: ['versions', 'versions hello --json'],
  async run({ positionals: [path = '.'], values }, context) {
    const { key, versions: all } = await openHistory(await readProjectName(path, context), values, context)
    const newestFirst = all.toReversed()
    context.print(formatVersions(key.project, newestFirst), {
      project: key.project,
      owner: key.owner,
      versions: newestFirst.map(toFacts),
    })
  },
})

function formatVersions(project: string, all: readonly Version[]): string {
  if (all.length === 0)
    return `${project} was not deployed here yet. Deploy it: khachapuri deploy --provider <name>`
  return all.map(formatVersion).join('\n')
}

function formatVersion(version: Version): string {
  const { number, deployment, spec, zipBytes, env, message, from } = version
  const secrets = Object.keys(env).length
  const kind = [
    formatBytes(zipBytes),
    ...(version.encryptedCid === null ? [] : ['encrypted']),
    ...(version.isPublic ? ['public'] : []),
    ...(secrets > 0 ? [countSecrets(secrets)] : []),
    ...(typeof from === 'number' ? [`version ${from} again`] : []),
  ].join(', ')
  const where = version.providers.map(
    ({ name, priceUsdc }) => `${name}${priceUsdc === null ? '' : ` at ${formatUsdc(priceUsdc)} USDC`}`,
  )
  return [
    `${number}  ${formatTime(spec.createdAt)}${message === null ? '' : `  ${message}`}`,
    `   deployment  ${deployment}`,
    `   program     ${spec.program} (${kind})`,
    `   providers   ${where.join(', ') || 'anybody'}`,
  ].join('\n')
}

/** A deployment is its `cid` here as in what `deploy` says. */
function toFacts({ number, deployment: cid, spec, env, market: _, ...version }: Version) {
  const { env: _env, createdAt, ...rest } = draftToJson(spec) as Readonly<Record<string, unknown>>
  return { number, cid, ...version, createdAt, spec: rest, env: Object.keys(env).sort() }
}
