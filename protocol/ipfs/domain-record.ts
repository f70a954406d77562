import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type Name, parseName } from '../name.ts'
import { type CID, parseContentCid } from './cid.ts'
import { formatProviderList, parseProviderList } from './named-deployment.ts'

/** What the owner of a domain says that it stands for. */
export type DomainRecord =
  /** A name of the registry, of a deployment or a provider: what is on chain decides. */
  | { readonly kind: 'name'; readonly name: Name }
  | { readonly kind: 'deployment'; readonly cid: CID; readonly providers: readonly Name[] }

/** Where the TXT record of a domain is: only who can change the domain's zone can put it there. */
export const domainRecordName = (domain: string): string => `_khachapuri.${domain}`

const prefix = 'khachapuri='
const providersPrefix = 'providers='

/** `khachapuri=<name>`, or `khachapuri=<cid> providers=<name>,<name>`; without providers, any that serves it. */
export function formatDomainRecord(record: DomainRecord): string {
  if (record.kind === 'name') return `${prefix}${record.name}`
  const providers = formatProviderList(record.providers)
  return `${prefix}${record.cid}${providers === '' ? '' : ` ${providersPrefix}${providers}`}`
}

/**
 * Finds what a domain stands for among its TXT records.
 *
 * @param texts - Each with its pieces put together; hostile.
 * @returns undefined where none of them is of this network.
 * @throws ProtocolError `name_records_invalid` where one is malformed, or several contradict each other
 */
export function parseDomainRecords(texts: readonly string[]): DomainRecord | undefined {
  const ours = texts.filter((text) => text.startsWith(prefix))
  const [text] = ours
  if (text === undefined) return undefined
  if (ours.length > 1) throw invalid('There is more than one.')
  if (text.length > limits.domainRecordBytesMax) throw invalid('It is too long.')
  const [target = '', ...words] = text.slice(prefix.length).split(' ')
  const [providers, ...rest] = words
  if (rest.length > 0 || (providers !== undefined && !providers.startsWith(providersPrefix))) {
    throw invalid('It has more than a target and its providers.')
  }
  try {
    if (providers === undefined && !looksLikeCid(target)) return { kind: 'name', name: parseName(target) }
    const listed = parseProviderList(providers?.slice(providersPrefix.length) ?? '')
    return { kind: 'deployment', cid: parseContentCid(target), providers: listed }
  } catch (cause) {
    throw invalid('It names neither a deployment nor a name.', cause)
  }
}

/** Whether a text is meant as a CID: as long as one, which no registered name is for long. */
export const looksLikeCid = (text: string): boolean => /^(?:baf|Qm)[A-Za-z0-9]{40,}$/.test(text)

function invalid(why: string, cause?: unknown): ProtocolError {
  return new ProtocolError('name_records_invalid', `The TXT record of this domain is malformed. ${why}`, {
    hint: 'Its owner has to write it as "khachapuri domain add" shows it.',
    cause,
  })
}
