import type { Address } from 'viem'
import { utf8 } from '../../protocol/base/bytes.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import {
  type ProgramLogEntry,
  programLogEntryToJson,
  programLogPageSchema,
  programLogPath,
} from '../../protocol/program-log.ts'
import { formatUsdc } from '../../protocol/usdc.ts'
import { type CommandContext, commonOptions, defineCommand, usageError } from '../command.ts'
import { parseDuration } from '../duration.ts'
import { readBundleMap } from '../history/bundle-maps.ts'
import { readVersionByCid, readVersions, type Version, type VersionOwner } from '../history/version-file.ts'
import { createProviderAccount } from '../market/ask-provider.ts'
import { providerUrl, readGatewayInfo } from '../market/market.ts'
import { openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions } from '../market/options.ts'
import { marketKey, resolveProvider } from '../market/resolve-provider.ts'
import type { Writer } from '../market/write.ts'
import { isProjectName } from '../project/manifest.ts'
import { createLocate, type Locate } from '../project/source-map.ts'
import { toPlainText } from '../terminal.ts'

export const logs = defineCommand({
  usage: 'logs <cid|name>',
  details:
    'What a deployment of yours has printed, its calls, and what became of its process, at one provider, the oldest first.\n' +
    'A program that was deployed from here can be named as in its manifest: that is its last version. Of what was deployed from\n' +
    'here its first provider is asked, unless --provider says who.\n' +
    'Only the account that deployed it is shown this; the request is signed, and nothing else is. Values of the env\n' +
    'appear as their names. Providers keep the last 7 days, and at most 4 MiB of a deployment.',
  options: {
    provider: { type: 'string', value: '<name>', help: 'Whose log (default: its first provider)' },
    follow: { type: 'boolean', short: 'f', help: 'Go on as more comes, until Ctrl-C' },
    since: { type: 'string', value: '<duration>', help: 'Only of this long, such as 10m, 2h or 3d' },
    status: {
      type: 'string',
      value: '<status>',
      help: 'Only calls with this status: 404, or 5xx, or 400-499',
    },
    search: { type: 'string', value: '<text>', help: 'Only what has this text in it, in whatever case' },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
    ...commonOptions,
    json: { type: 'boolean', help: 'Print one JSON object a line instead of text' },
  },
  examples: [
    'logs hello -f',
    'logs bafkrei…',
    'logs bafkrei… --provider alice -f --status 5xx',
    'logs bafkrei… --provider bob --since 1h --search timeout --json',
  ],
  async run({ values, positionals }, context) {
    const [text = ''] = positionals
    const query = {
      ...(values.since !== undefined && {
        since: String(Math.max(0, context.clock.nowMs() - parseDuration('since', values.since) * 1000)),
      }),
      ...(values.status !== undefined && { status: parseStatus(values.status) }),
      ...(values.search !== undefined && { search: values.search }),
    }
    const writer = await openWriter(values, context)
    const { cid, name, version } = await findDeployment(text, { ...values, writer }, context)
    const locate = createLocate(version && (await readBundleMap(version.spec.program, context)))
    const resolving = { ...writer, acceptIdentity: values['accept-identity'] ?? false }
    const { address } = await resolveProvider(name, resolving, context)
    const { domain } = await readGatewayInfo(writer.market.gateway, context.signal)
    const url = providerUrl(writer.market.gateway, domain, name)
    const account = createProviderAccount({ name, address, url }, writer, context)

    const format = values.json ? formatJson : formatLine
    const show = (entry: ProgramLogEntry) => format(locateEntry(entry, locate))
    let after = 0
    let isSilent = true
    const isAsked = Object.keys(query).length > 0
    for (;;) {
      const ask = () =>
        account.read(programLogPath(cid), { ...query, after: String(after) }, programLogPageSchema)
      const page = values.follow ? await persist(ask, context) : await ask()
      const text = page.entries.map((entry) => `${show(entry)}\n`).join('')
      if (text !== '') await context.writeBytes(utf8.encode(text))
      isSilent &&= text === ''
      if (!page.isWhole && page.lookedTo <= after) throw goesNowhere(name)
      after = page.lookedTo
      if (!page.isWhole) continue
      if (isSilent)
        context.note(`${name} has nothing ${isAsked ? 'like that ' : ''}of this deployment so far.`)
      isSilent = false
      if (!values.follow) return
      await context.clock.sleep(limits.programLogPollMs, context.signal)
    }
  },
})

/** A CID is longer than any name. */
const isCid = (text: string) => text.length > limits.nameBytesMax || /^(?:baf[ky]|Qm)/.test(text)

/** What is meant by a CID or by a program's name, and whose log of it. @throws ProtocolError `version_unknown` */
async function findDeployment(
  text: string,
  { provider, writer }: { readonly provider?: string | undefined; readonly writer: Writer },
  context: CommandContext,
): Promise<{ readonly cid: string; readonly name: string; readonly version: Version | undefined }> {
  const owned = { market: await marketKey(writer, context.signal), owner: writer.account.address }
  const version = await findVersion(text, owned, context)
  if (isCid(text) && provider !== undefined) return { cid: text, name: provider, version }
  if (!version) throw unknown(text, owned.owner)
  const name = provider ?? version.providers[0]?.name
  if (name === undefined) throw usageError('Anybody may run it.', nameProvider)
  return { cid: version.deployment, name, version }
}

async function findVersion(text: string, owned: VersionOwner, context: CommandContext) {
  if (isCid(text)) return readVersionByCid(text, owned, context)
  return isProjectName(text) ? (await readVersions({ ...owned, project: text }, context)).at(-1) : undefined
}

function unknown(text: string, owner: Address): ProtocolError {
  const isKnownElsewhere = isCid(text)
  return new ProtocolError(
    'version_unknown',
    isKnownElsewhere
      ? `${text} was not deployed from here by ${owner}, so whose log of it is meant has to be said.`
      : `Nothing named "${text}" was deployed from here by ${owner}.`,
    {
      hint: isKnownElsewhere
        ? nameProvider
        : 'Name the deployment by its CID, and --provider, or see "khachapuri versions".',
    },
  )
}

const nameProvider = 'Name the provider with --provider <name>.'

/** Else a provider could be asked for ever. */
const goesNowhere = (name: string) =>
  new ProtocolError('provider_answer_invalid', `${name} shows the same part of its log again and again.`, {
    hint: 'Ask its operator.',
  })

/** Who follows a log wants it to go on after a provider was away. */
async function persist<T>(ask: () => Promise<T>, { clock, note, signal }: CommandContext): Promise<T> {
  for (let hasSaid = false; ; hasSaid = true) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof ProtocolError) || !passing.has(error.code)) throw error
      if (!hasSaid) note(`${error.message} Trying again …`)
      await clock.sleep(limits.programLogPollMs, signal)
    }
  }
}

const passing: ReadonlySet<string> = new Set([
  'provider_unreachable',
  'provider_busy',
  'tunnel_lost',
  'too_many_requests',
])

function parseStatus(text: string): string {
  const [, hundreds] = /^([1-5])xx$/i.exec(text) ?? []
  if (hundreds !== undefined) return `${hundreds}00-${hundreds}99`
  if (/^\d{3}$/.test(text)) return `${text}-${text}`
  if (/^\d{3}-\d{3}$/.test(text)) return text
  throw usageError(`"${text.slice(0, 40)}" is no status.`, 'Write it as in 404, 5xx or 400-499.')
}

/** A program that was deployed from here is spoken of by its sources. */
function locateEntry(entry: ProgramLogEntry, locate: Locate): ProgramLogEntry {
  if (entry.kind !== 'call') return { ...entry, text: locate(entry.text) }
  return entry.message === undefined ? entry : { ...entry, message: locate(entry.message) }
}

const formatJson = (entry: ProgramLogEntry) => JSON.stringify(programLogEntryToJson(entry))

/** One line for people: what a stranger's program printed must not move their cursor. */
function formatLine(entry: ProgramLogEntry): string {
  const time = new Date(entry.atMs).toISOString().replace('T', ' ').slice(0, 23)
  return `${time}  ${toPlainText(describe(entry))}`
}

function describe(entry: ProgramLogEntry): string {
  switch (entry.kind) {
    case 'output':
      return `  ${entry.text}`
    case 'event':
      return `· ${entry.text}`
    case 'call': {
      const { method, path, status, outcome, durationMs, chargedUsdc, call, message } = entry
      const end = outcome === 'answered' ? `${status}` : `${status} ${outcome}`
      const why = message === undefined ? '' : `  ${message}`
      return `${method} ${path}  ${end}  ${durationMs} ms  ${formatUsdc(chargedUsdc)} USDC  ${call}…${why}`
    }
  }
}
