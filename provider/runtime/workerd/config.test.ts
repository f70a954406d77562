import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { toJsModules } from '../js/js-modules.ts'
import { formatWrapper, globalsSource } from '../js/wrapper.ts'
import { compatibilityDate, encodeWorkerdConfig } from './config.ts'

const options = { env: { KEY: 's3cret "quoted"' }, params: { a: [1, null] }, memoryMiB: 128 }
const token = 'token'

const files = [
  { path: 'index.js', bytes: Buffer.from("export default { fetch: () => new Response('ü') }") },
  { path: 'old.cjs', bytes: Buffer.from('module.exports = 1') },
  { path: 'lib/page.html', bytes: Buffer.from('<p>') },
  { path: 'data.json', bytes: Buffer.from('{"a":1}') },
  { path: 'add.wasm', bytes: Buffer.from([0, 97, 115, 109, 1, 0, 0, 0]) },
  { path: 'image.png', bytes: Buffer.from([0x89, 0x50, 0xff]) },
  { path: 'latin1.txt', bytes: Buffer.from([0xe9]) },
]

test('the configuration is what workerd itself makes of the same in its own language', async () => {
  await using folder = await openFolder()
  const ours = encodeWorkerdConfig(toJsModules({ files, entry: 'index.js' }, token), options)
  const theirs = await compile(folder.path, 'unix:/dev/null/closed')
  expect(readTree(ours)).toEqual(readTree(theirs))
})

test('with egress, the network is the proxy and nothing else', async () => {
  await using folder = await openFolder()
  const egressPath = '/run/w/e'
  const ours = encodeWorkerdConfig(toJsModules({ files, entry: 'index.js' }, token), {
    ...options,
    egressPath,
  })
  const theirs = await compile(folder.path, `unix:${egressPath}`)
  expect(readTree(ours)).toEqual(readTree(theirs))
})

test('a program that attests has a way to where it is signed, and no other has', async () => {
  await using folder = await openFolder()
  const ours = encodeWorkerdConfig(toJsModules({ files, entry: 'index.js' }, token), {
    ...options,
    attestPath: '/run/w/a',
  })
  const theirs = await compile(folder.path, 'unix:/dev/null/closed', [], '/run/w/a')
  expect(readTree(ours)).toEqual(readTree(theirs))
})

test.each(['missing.js', 'data.json', 'add.wasm', 'image.png', ''])('"%s" cannot be an entry', (entry) => {
  expect(() => toJsModules({ files, entry }, token)).toThrow(
    expect.objectContaining({ code: 'program_invalid' }),
  )
})

test('a secret may not take the place of the params', () => {
  const env = { params: 'x' }
  expect(() =>
    encodeWorkerdConfig(toJsModules({ files, entry: 'index.js' }, token), { ...options, env }),
  ).toThrow(expect.objectContaining({ code: 'deployment_invalid' }))
})

test('a kind of program may do without a part of the platform', async () => {
  await using folder = await openFolder()
  const compatibilityFlags = ['no_nodejs_compat', 'no_nodejs_compat_v2']
  const ours = encodeWorkerdConfig(toJsModules({ files, entry: 'index.js' }, token), {
    ...options,
    compatibilityFlags,
  })
  const theirs = await compile(folder.path, 'unix:/dev/null/closed', compatibilityFlags)
  expect(readTree(ours)).toEqual(readTree(theirs))
})

async function compile(
  folder: string,
  internet: string,
  flags: readonly string[] = [],
  attestPath?: string,
): Promise<Buffer> {
  const parts = {
    'main.js': formatWrapper({ entry: 'index.js', token }),
    'globals.js': globalsSource,
  }
  for (const [name, source] of Object.entries(parts)) await writeFile(join(folder, name), source)
  for (const [index, { bytes }] of files.entries()) await writeFile(join(folder, String(index)), bytes)
  await writeFile(join(folder, 'config.capnp'), configText(internet, flags, attestPath))
  const workerd: { default: string } = createRequire(import.meta.url)('workerd')
  const { stdout } = await promisify(execFile)(
    workerd.default,
    ['compile', 'config.capnp', '--config-only'],
    {
      cwd: folder,
      encoding: 'buffer',
    },
  )
  return stdout
}

function configText(internet: string, flags: readonly string[], attestPath?: string): string {
  const types = ['esModule', 'commonJsModule', 'text', 'json', 'wasm', 'data', 'data']
  const modules = files.map(({ path }, i) => `(name = "program/${path}", ${types[i]} = embed "${i}")`)
  return `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "program", worker = (
      modules = [
        (name = "main.js", esModule = embed "main.js"), (name = "globals.js", esModule = embed "globals.js"),
        ${modules.join(', ')} ],
      compatibilityDate = "${compatibilityDate}",
      ${flags.length === 0 ? '' : `compatibilityFlags = ${JSON.stringify(flags)},`}
      bindings = [
        (name = "KEY", text = ${JSON.stringify(options.env.KEY)}),
        (name = "params", json = ${JSON.stringify(JSON.stringify(options.params))})
        ${attestPath ? `, (name = "khachapuri:attest", service = "attest")` : ''} ] )),
    (name = "internet", external = (address = "${internet}", http = (style = proxy)))
    ${attestPath ? `, (name = "attest", external = (address = "unix:${attestPath}", http = ()))` : ''} ],
  sockets = [
    (name = "main", http = (forwardedProtoHeader = "x-forwarded-proto"), service = "program"),
    (name = "ping", http = (forwardedProtoHeader = "x-forwarded-proto"),
      service = (name = "program", entrypoint = "ping")) ],
  v8Flags = ["--initial-old-space-size=1", "--initial-heap-size=4", "--max-semi-space-size=1",
    "--max-heap-size=128", "--minor-gc-task-trigger=25"]
);
`
}

type Tree = { data: string; pointers: Tree[] } | { list: Tree[] } | string | undefined

/** An independent reader of Cap'n Proto (https://capnproto.org/encoding.html), in which defaults are absent. */
function readTree(message: Buffer): Tree {
  expect(message.readUInt32LE(0), 'one segment').toBe(0)
  const segment = message.subarray(8, 8 + message.readUInt32LE(4) * 8)
  return readPointer(0)

  function readPointer(at: number): Tree {
    const lower = segment.readInt32LE(at * 8)
    const upper = segment.readUInt32LE(at * 8 + 4)
    if (lower === 0 && upper === 0) return undefined
    const target = at + 1 + (lower >> 2)
    if ((lower & 3) === 0) return readStruct(target, upper & 0xffff, upper >>> 16)
    const count = upper >>> 3
    switch (upper & 7) {
      case 2:
        return segment.subarray(target * 8, target * 8 + count).toString('hex')
      case 6:
        return { list: Array.from({ length: count }, (_, i) => readPointer(target + i)) }
      case 7: {
        const size = segment.readUInt32LE(target * 8 + 4)
        const [data, pointers] = [size & 0xffff, size >>> 16]
        const structs = segment.readUInt32LE(target * 8) >>> 2
        return {
          list: Array.from({ length: structs }, (_, i) =>
            readStruct(target + 1 + i * (data + pointers), data, pointers),
          ),
        }
      }
      default:
        throw new Error(`A list of kind ${upper & 7} is not expected here.`)
    }
  }

  function readStruct(at: number, dataWords: number, pointerWords: number): Tree {
    const data = segment.subarray(at * 8, (at + dataWords) * 8).toString('hex')
    const pointers = Array.from({ length: pointerWords }, (_, i) => readPointer(at + dataWords + i))
    while (pointers.length > 0 && pointers.at(-1) === undefined) pointers.pop()
    return { data: data.replace(/(?:00)+$/, ''), pointers }
  }
}

async function openFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'config-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}
