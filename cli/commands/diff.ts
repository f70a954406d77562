import type { Json } from '../../protocol/canonical-json.ts'
import { readZip } from '../../protocol/ipfs/unpack-zip.ts'
import { type CommandContext, defineCommand, usageError } from '../command.ts'
import { parseWholeNumber } from '../duration.ts'
import { formatBytes } from '../format.ts'
import { type Change, compareFiles, compareSettings } from '../history/compare-versions.ts'
import { fetchProgram } from '../history/fetch-program.ts'
import { dirOptions, type History, openHistory, readProjectName } from '../history/open-history.ts'
import { findVersion, type Version } from '../history/version-file.ts'
import { openAccount } from '../keys/account.ts'
import { parseHttpUrl } from '../market/market.ts'
import { type AccountFlags, accountOptions, marketOptions } from '../market/options.ts'

export const diff = defineCommand({
  usage: 'diff [a] [b]',
  details:
    'What changed from one version to another: files by size and SHA-256, fetched from the keeper and verified, settings,\n' +
    'providers, and which secrets came, went or have another value. Without numbers, from the last but one to the last;\n' +
    'with one, from that to the last.',
  options: {
    ...dirOptions,
    keeper: { type: 'string', value: '<url>', help: 'Where the programs are (default: where they were put)' },
    ...accountOptions,
    ...marketOptions,
  },
  examples: ['diff', 'diff 3', 'diff 1 4 --dir hello --json'],
  async run({ positionals, values }, context) {
    const history = await openHistory(await readProjectName(values.dir, context), values, context)
    const [a, b] = choose(history, positionals)
    const changes = [...(await diffFiles([a, b], history, values, context)), ...compareSettings(a, b)]
    const text = changes.length === 0 ? 'Nothing differs.' : changes.map(formatChange).join('\n')
    context.print(`Version ${a.number} to ${b.number} of ${history.key.project}\n${text}`, {
      project: history.key.project,
      from: a.number,
      to: b.number,
      changes,
    })
  },
})

function choose({ versions }: History, [from, to]: readonly string[]): readonly [Version, Version] {
  if (from === undefined && versions.length < 2) {
    throw usageError('There are no two versions to compare.', 'See "khachapuri versions".')
  }
  const numberOf = (text: string) => parseWholeNumber('a version', text, { min: 1, max: 1e9 })
  const last = versions.at(-1)?.number ?? 1
  const a = from === undefined ? (versions.at(-2)?.number ?? 1) : numberOf(from)
  return [findVersion(versions, a), findVersion(versions, to === undefined ? last : numberOf(to))]
}

async function diffFiles(
  [a, b]: readonly [Version, Version],
  { market }: History,
  flags: AccountFlags & { readonly keeper?: string | undefined },
  context: CommandContext,
): Promise<readonly Change[]> {
  if (a.spec.program === b.spec.program) return []
  let opened: ReturnType<typeof openAccount> | undefined
  const open = () => (opened ??= openAccount(flags, market, context))
  const read = async (version: Version) => {
    const keeperUrl = parseHttpUrl('--keeper', flags.keeper ?? version.keeper)
    const zip = await fetchProgram(version, { keeperUrl, openAccount: open }, context.signal)
    return readZip(zip, context.signal)
  }
  return compareFiles(await read(a), await read(b))
}

const signs = { added: '+', removed: '-', changed: '~' } as const

function formatChange({ kind, name, change, before, after }: Change): string {
  const head = `${signs[change]} ${kind.padEnd(8)}  ${name}`
  if (kind === 'env') return change === 'changed' ? `${head}  has another value` : head
  const values = [before, after]
    .filter((value) => value !== undefined)
    .map((value) => formatValue(kind, value))
  return `${head}  ${values.join(' → ')}`
}

function formatValue(kind: Change['kind'], value: Json): string {
  if (kind !== 'file') return JSON.stringify(value)
  const { bytes, sha256, executable } = value as { bytes: number; sha256: string; executable?: boolean }
  return `${formatBytes(bytes)} ${sha256.slice(0, 14)}…${executable ? ' executable' : ''}`
}
