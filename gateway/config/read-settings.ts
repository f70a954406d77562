import type { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { type GatewaySettings, gatewaySettingsSchema } from './settings.ts'
import { environmentName, getAt, mergeLayers, readEnvironment, type SettingsLayer } from './settings-layer.ts'

export interface SettingsSources {
  /** `values` are nested as in the file. They win over everything else. */
  readonly flags: SettingsLayer
  readonly env: Readonly<Record<string, string | undefined>>
  /** The configuration file, where there is one. */
  readonly file?: { readonly path: string; readonly bytes: Uint8Array } | undefined
  /** What holds where nobody names a contract: those of the market in this directory. */
  readonly market?: SettingsLayer | undefined
}

const contractNames = ['chainId', 'escrow', 'registry', 'usdc']

/**
 * Reads a gateway's settings: flags before environment before file, and says everything that is wrong with them at once,
 * each with the place where it was said.
 *
 * @throws ProtocolError `config_invalid`, or `usage_invalid` where only flags said anything
 */
export function readSettings({ flags, env, file, market }: SettingsSources): GatewaySettings {
  const environment = readEnvironment(env)
  const mistakes = environment.unknown.map((name) => `${name}: no setting has this name`)
  const written = file ? readFileLayer(file, mistakes) : undefined

  const said = [...(written ? [written] : []), environment.layer, flags]
  const namesContracts = said.some(({ values }) =>
    contractNames.some((name) => getAt(values, ['chain', name]) !== undefined),
  )
  const layers = market && !namesContracts ? [market, ...said] : said
  const parsed = gatewaySettingsSchema.safeParse(mergeLayers(layers))
  if (parsed.success && mistakes.length === 0) return parsed.data

  for (const issue of parsed.error?.issues ?? []) mistakes.push(...describeIssue(issue, layers, flags))
  const isOnlyFlags = !file && Object.keys(environment.layer.values).length === 0
  throw new ProtocolError(
    isOnlyFlags && environment.unknown.length === 0 ? 'usage_invalid' : 'config_invalid',
    mistakes.length === 1
      ? `A setting of the gateway is wrong: ${mistakes[0]}.`
      : `${mistakes.length} settings of the gateway are wrong:\n${mistakes.map((line) => `  ${line}`).join('\n')}`,
    { hint: 'docs/operate-gateway.md lists the settings; "khachapuri gateway check-config" tries them.' },
  )
}

function readFileLayer(
  { path, bytes }: NonNullable<SettingsSources['file']>,
  mistakes: string[],
): SettingsLayer | undefined {
  const values = parseJson(bytes)
  if (typeof values === 'object' && values !== null && !Array.isArray(values)) {
    return {
      values: values as SettingsLayer['values'],
      nameOf: (place) => `${path}, ${place.map(String).join('.').slice(0, 200)}`,
    }
  }
  mistakes.push(`${path}: ${values === undefined ? explainSyntax(bytes) : 'expected an object'}`)
  return undefined
}

/** Where the JSON ends to be JSON, in Node's words. */
function explainSyntax(bytes: Uint8Array): string {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    return 'it nests too deeply'
  } catch (error) {
    return error instanceof SyntaxError ? error.message.slice(0, 200) : 'it is not UTF-8'
  }
}

type Issue = z.core.$ZodIssue

function describeIssue(issue: Issue, layers: readonly SettingsLayer[], flags: SettingsLayer): string[] {
  const { path, message } = issue
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map(
      (key) => `${nameOf([...path, key], layers) ?? key.slice(0, 80)}: no setting has this name`,
    )
  }
  const name = nameOf(path, layers)
  if (name !== undefined) return [`${name}: ${lowerFirst(message)}`]
  const flag = flags.nameOf(path)
  const ways = [...(flag === '' ? [] : [flag]), environmentName(path)]
  return [`${path.map(String).join('.')}: is missing; say it in the file, or with ${ways.join(' or ')}`]
}

/** How the place that decided about a setting calls it. */
function nameOf(path: readonly PropertyKey[], layers: readonly SettingsLayer[]): string | undefined {
  const layer = layers.findLast(({ values }) => getAt(values, path) !== undefined)
  return layer?.nameOf(path)
}

const lowerFirst = (text: string) => text.slice(0, 1).toLowerCase() + text.slice(1)
