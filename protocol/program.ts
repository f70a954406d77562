import type { Brand } from './base/brand.ts'
import { sha256, toHex } from './base/bytes.ts'
import { encodeCanonicalJson, type Json } from './canonical-json.ts'

/**
 * What a program answers HTTP in: `js` is a module whose default export has `fetch(request, env, ctx)`, `wasm` a WASI
 * command in the CGI style, `native` a Linux binary or script.
 */
export const runtimeKinds = ['js', 'wasm', 'native'] as const
export type RuntimeKind = (typeof runtimeKinds)[number]

/**
 * How a `native` program answers: `cgi` is a process per call (RFC 3875), `http` a server that stays and listens on the
 * Unix socket that `LISTEN_SOCKET` names, or on the port that `PORT` names.
 */
export const nativeModes = ['cgi', 'http'] as const
export type NativeMode = (typeof nativeModes)[number]

/** Whether only what says that it is native says how. */
export function isNativeOnly({
  runtime,
  native,
}: {
  readonly runtime: RuntimeKind
  readonly native?: NativeMode | undefined
}): boolean {
  return native === undefined || runtime === 'native'
}

/** The file in a program's directory, and in its zip, that says what it is. */
export const manifestName = 'khachapuri.json'

/** Names what runs, whoever deployed it: 32 bytes as lower-case `0x…`. */
export type ProgramId = Brand<`0x${string}`, 'ProgramId'>

/** Public parameters of a program: a JSON object. */
export type Params = { readonly [key: string]: Json }

/**
 * `sha256(program digest ‖ sha256(canonical params))`, the program digest being the SHA-256 in the program's CID. Up
 * to 1 MiB of zip that is what `sha256sum` prints, so shell tools can recompute it.
 */
export function hashProgram({
  programDigest,
  params,
}: {
  programDigest: Uint8Array
  params: Params
}): ProgramId {
  return toHex(sha256(programDigest, sha256(encodeCanonicalJson(params)))) as ProgramId
}
