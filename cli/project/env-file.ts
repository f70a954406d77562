import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { utf8 } from '../../protocol/base/bytes.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { paramsName } from '../../provider/runtime/workerd/config.ts'
import { readFileBounded } from '../files.ts'

export type Env = Readonly<Record<string, string>>

/** Where secrets are looked for in a program's directory, in this order; neither is ever packed. */
const defaultNames = ['.env', 'secret'] as const

/**
 * Reads the secrets of a program: from the file that was named, else from `.env` or `secret` in its directory.
 *
 * @param path - Named by the user, so it must be there.
 * @param dir - The program's directory, if it is one.
 * @throws ProtocolError `config_invalid`
 */
export async function readEnvFile({
  path,
  dir,
}: {
  path?: string
  dir?: string
}): Promise<EnvFile | undefined> {
  const found = path ?? (dir && (await findDefault(dir)))
  if (found === undefined) return undefined
  const bytes = await readFileBounded(found, limits.envBytesMax)
  if (!bytes) throw invalid(found, 'it is not there')
  const env = parseEnvFile(bytes, found)
  if (Object.hasOwn(env, paramsName))
    throw invalid(found, `programs find their params under the name "${paramsName}"`)
  return { path: found, env }
}

/** @throws ProtocolError `usage_invalid` for what no env entry can be named */
export function assertEnvName(name: string): void {
  if (/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name) && name !== paramsName) return
  throw new ProtocolError('usage_invalid', `"${name.slice(0, 80)}" is no name for a secret.`, {
    hint: `Use letters, digits and "_", as in API_KEY; "${paramsName}" is that of the params.`,
  })
}

export interface EnvFile {
  readonly path: string
  readonly env: Env
}

async function findDefault(dir: string): Promise<string | undefined> {
  for (const name of defaultNames) {
    const isFile = await stat(join(dir, name)).then(
      (found) => found.isFile(),
      () => false,
    )
    if (isFile) return join(dir, name)
  }
  return undefined
}

/**
 * Reads lines of `NAME=value` as dotenv does, but refuses what it does not understand instead of dropping it, and keeps
 * a `#` inside of a value. A value is bare, up to ` #` or the end of the line; literal in `'…'` or `` `…` ``; or in `"…"`, where `\n`, `\r`, `\t`, `\"`,
 * `\\` and `\$` are escapes. Quoted values may have several lines. Of two lines with one name the later counts.
 *
 * @throws ProtocolError `config_invalid` with the line's number, never with its content
 */
export function parseEnvFile(bytes: Uint8Array, path: string): Env {
  const text = decode(bytes, path)
    .replace(/^\uFEFF/, '')
    .replaceAll('\r\n', '\n')
  const env = new Map<string, string>()
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (match) at = pattern.lastIndex
    return match
  }
  while (at < text.length) {
    const lineAt = at
    if (take(blankLine)) continue
    const [, name] = take(nameAndSign) ?? []
    const value = take(quotedValue) ?? take(bareValue)
    if (name === undefined || !value || !take(blankLine)) {
      throw invalid(path, `line ${text.slice(0, lineAt).split('\n').length} is not NAME=value`)
    }
    const { double, single, backtick, bare } = value.groups ?? {}
    env.set(
      name,
      double === undefined ? (single ?? backtick ?? bare?.trimEnd() ?? '') : unescapeValue(double),
    )
  }
  return Object.fromEntries(env)
}

/** Also the end of a line with a value on it. */
const blankLine = /[ \t]*(?:#[^\n]*)?(?:\n|$)/y
const nameAndSign = /[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]{0,127})[ \t]*=[ \t]*/y
const quotedValue = /"(?<double>(?:\\[\s\S]|[^"\\])*)"|'(?<single>[^']*)'|`(?<backtick>[^`]*)`/y
/** Up to the end of the line, or to a `#` behind a space. */
const bareValue = /(?!["'`])(?<bare>(?!#)(?:[^\n \t]|[ \t]+(?![ \t#]))*|)/y

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\', $: '$' }

function unescapeValue(text: string): string {
  return text.replace(/\\([\s\S])/g, (all, char: string) => escapes[char] ?? all)
}

function decode(bytes: Uint8Array, path: string): string {
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw invalid(path, 'it is not UTF-8', cause)
  }
}

function invalid(path: string, why: string, cause?: unknown): ProtocolError {
  return new ProtocolError('config_invalid', `${path} cannot be used: ${why}.`, {
    hint: 'Write one NAME=value a line; put values with spaces, "#" or line breaks in quotes.',
    cause,
  })
}
