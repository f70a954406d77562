import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type DeploymentName, type Name, parseName } from '../name.ts'
import type { CID } from './cid.ts'
import { parseContenthash } from './contenthash.ts'

/** What a deployment's name stands for, once its records have been read as such. */
export interface NamedDeployment extends Omit<DeploymentName, 'contenthash' | 'providers'> {
  /** The callable CID, as version 1. */
  readonly cid: CID
  /** Who serves it, the best first as far as its owner is concerned; empty where anybody may who does. */
  readonly providers: readonly Name[]
}

/**
 * Reads the records of a deployment's name, which are hostile input: content of this network, and names of providers.
 *
 * @throws ProtocolError `name_records_invalid`
 */
export function parseNamedDeployment(record: DeploymentName): NamedDeployment {
  const { contenthash, providers, ...facts } = record
  try {
    const cid = parseContenthash(contenthash)
    if (!cid) throw new Error('no content')
    return { ...facts, cid, providers: parseProviderList(providers) }
  } catch (cause) {
    throw new ProtocolError('name_records_invalid', `What the name "${record.name}" says is no deployment.`, {
      hint: 'Its owner has to set it again: khachapuri name set <name> <cid> --provider <name>.',
      cause,
    })
  }
}

/**
 * Reads a list of providers' names, apart by commas or white space. One that is none spoils the list: who is left out
 * silently would be missed.
 *
 * @throws ProtocolError `name_malformed` also for too many
 */
export function parseProviderList(text: string): Name[] {
  if (text.length > limits.nameProvidersBytesMax) throw tooMany()
  const names = new Set(
    text
      .split(/[\s,]+/)
      .filter((word) => word !== '')
      .map(parseName),
  )
  if (names.size > limits.nameProvidersMax) throw tooMany()
  return [...names]
}

/** The same list as the text of a name. */
export const formatProviderList = (names: readonly Name[]): string => names.join(',')

function tooMany(): ProtocolError {
  return new ProtocolError('name_malformed', `A name has at most ${limits.nameProvidersMax} providers.`, {
    hint: 'Name fewer.',
  })
}
