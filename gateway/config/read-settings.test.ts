import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isProtocolError } from '../../protocol/errors.ts'
import { readSettings, type SettingsSources } from './read-settings.ts'
import { rpcUrlsOf, settingLeaves } from './settings.ts'
import { environmentName } from './settings-layer.ts'

const address = `0x${'a1'.repeat(20)}`
const chain = { rpc: 'http://rpc.example', chainId: 1, escrow: address, registry: address, usdc: address }
const noFlags = { values: {}, nameOf: (path: readonly PropertyKey[]) => `--${path.map(String).join('-')}` }

function read({ file, ...sources }: Partial<Omit<SettingsSources, 'file'>> & { file?: unknown }) {
  const bytes = Buffer.from(typeof file === 'string' ? file : JSON.stringify(file ?? null))
  return readSettings({
    env: {},
    flags: noFlags,
    ...sources,
    file: file === undefined ? undefined : { path: 'gateway.json', bytes },
  })
}

function refusal(...args: Parameters<typeof read>): { code: string; message: string } {
  try {
    read(...args)
  } catch (error) {
    if (isProtocolError(error)) return error
    throw error
  }
  throw new Error('The settings were taken.')
}

test('flags win over the environment, the environment over the file, the file over what holds by itself', () => {
  const env = { KHACHAPURI_GATEWAY_PORT: '2', KHACHAPURI_GATEWAY_HOST: '::1', PORT: '9' }
  const flags = { ...noFlags, values: { host: '0.0.0.0' } }
  const file = { port: 1, host: '10.0.0.1', log: { calls: false }, chain }
  expect(read({ file, env, flags })).toMatchObject({
    host: '0.0.0.0',
    port: 2,
    allowPrivate: false,
    log: { level: 'warn', calls: false },
  })
})

test('of RPC servers there may be several, all of them URLs', () => {
  const rpc = 'http://one.example/key, https://two.example'
  const flags = { ...noFlags, values: { chain: { ...chain, rpc } } }
  expect(rpcUrlsOf(read({ flags }).chain.rpc).map(({ href }) => href)).toEqual([
    'http://one.example/key',
    'https://two.example/',
  ])
  for (const bad of ['http://one.example,', 'http://one.example,ftp://two.example', ',']) {
    const given = { ...noFlags, values: { chain: { ...chain, rpc: bad } } }
    expect(() => read({ flags: given })).toThrow('several with commas between')
  }
})

test('every setting can stand in the environment, with its type', () => {
  const env = {
    KHACHAPURI_GATEWAY_ALLOW_PRIVATE: 'true',
    KHACHAPURI_GATEWAY_LOG_LEVEL: 'info',
    KHACHAPURI_GATEWAY_CHAIN_RPC: 'http://rpc.example',
    KHACHAPURI_GATEWAY_CHAIN_CHAIN_ID: '8453',
    KHACHAPURI_GATEWAY_CHAIN_ESCROW: address,
    KHACHAPURI_GATEWAY_CHAIN_REGISTRY: address,
    KHACHAPURI_GATEWAY_CHAIN_USDC: address,
    KHACHAPURI_GATEWAY_DOMAIN: '',
  }
  expect(read({ env })).toMatchObject({
    allowPrivate: true,
    log: { level: 'info' },
    chain: { chainId: 8453 },
  })
  const names = settingLeaves.map(({ path }) => environmentName(path))
  expect(new Set(names).size).toBe(names.length)
  expect(names).toEqual(expect.arrayContaining(Object.keys(env)))
})

test('all mistakes are said at once, each with its place', () => {
  const file = {
    port: 70_000,
    hots: 'x',
    log: { level: 'loud', colour: true },
    chain: { ...chain, escrow: '0x12' },
  }
  const env = { KHACHAPURI_GATEWAY_ALLOW_PRIVATE: 'perhaps', KHACHAPURI_GATEWAY_TYPO: '1' }
  const flags = { ...noFlags, values: { domain: 'a b', publicUrl: 'ftp://x' } }
  const { code, message } = refusal({ file, env, flags })
  expect(code).toBe('config_invalid')
  expect(message).toMatchInlineSnapshot(`
    "9 settings of the gateway are wrong:
      KHACHAPURI_GATEWAY_TYPO: no setting has this name
      gateway.json, port: too big: expected number to be <=65535
      --domain: expected a host such as market.example
      --publicUrl: expected an origin such as https://market.example
      KHACHAPURI_GATEWAY_ALLOW_PRIVATE: invalid input: expected boolean, received string
      gateway.json, chain.escrow: expected an address
      gateway.json, log.level: invalid option: expected one of "debug"|"info"|"warn"|"error"|"silent"
      gateway.json, log.colour: no setting has this name
      gateway.json, hots: no setting has this name"
  `)
})

test('what is missing is said with the ways to say it', () => {
  const { rpc, chainId } = chain
  const flags = { ...noFlags, values: { chain: { rpc, chainId } } }
  const { code, message } = refusal({ flags })
  expect(code).toBe('usage_invalid')
  expect(message).toMatchInlineSnapshot(`
    "3 settings of the gateway are wrong:
      chain.escrow: is missing; say it in the file, or with --chain-escrow or KHACHAPURI_GATEWAY_CHAIN_ESCROW
      chain.registry: is missing; say it in the file, or with --chain-registry or KHACHAPURI_GATEWAY_CHAIN_REGISTRY
      chain.usdc: is missing; say it in the file, or with --chain-usdc or KHACHAPURI_GATEWAY_CHAIN_USDC"
  `)
})

test.each([
  [
    'files and an authority',
    { tls: { cert: 'c', key: 'k', acme: { enabled: true, hook: ['h'] } } },
    'tls.acme.enabled',
  ],
  ['an authority that has no way to come', { tls: { acme: { enabled: true } } }, 'tls.acme.enabled'],
  [
    'an authority for localhost',
    { domain: undefined, tls: { acme: { enabled: true, hook: ['h'] } } },
    'tls.acme.enabled',
  ],
  ['a way to a certificate that is not there', { tls: { httpPort: 80 } }, 'tls.httpPort'],
  ['half a certificate', { tls: { cert: 'c' } }, 'tls.key'],
  ['a cluster with a list', { fleet: { cluster: ['nats://n'], gateways: ['wss://g/'] } }, 'fleet.gateways'],
  [
    'too few ports for hops',
    { fleet: { cluster: ['nats://n'], hopPort: 65_535 }, workers: 2 },
    'fleet.hopPort',
  ],
])('what excludes each other is said: %s', (_what, settings, place) => {
  const { code, message } = refusal({ file: { chain, domain: 'market.example', ...settings } })
  expect(code).toBe('config_invalid')
  expect(message).toContain(`${place}: `)
  expect(message).toMatch(/^A setting/)
})

test('a market on this machine gives its contracts, unless one is named', () => {
  const market = { values: { chain }, nameOf: () => 'the market of this directory' }
  const flags = { ...noFlags, values: { chain: { rpc: 'http://other.example' } } }
  expect(read({ market, flags }).chain).toMatchObject({ rpc: 'http://other.example', chainId: 1 })
  const named = { ...noFlags, values: { chain: { chainId: 2 } } }
  expect(refusal({ market, flags: named }).message).toContain('chain.escrow: is missing')
})

test.each([
  ['', 'gateway.json: Unexpected end of JSON input'],
  ['[1]', 'gateway.json: expected an object'],
  ['{"__proto__": {"port": 1}}', 'gateway.json, __proto__: no setting has this name'],
  ['{"port": 1,}', 'gateway.json: Expected double-quoted property name in JSON at position 11'],
  ['['.repeat(100) + ']'.repeat(100), 'gateway.json: it nests too deeply'],
])('a file that holds %s is told from one that is wrong', (text, part) => {
  expect(refusal({ file: text }).message).toContain(part)
})

test('the documentation lists every setting, and no other', () => {
  const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'operate-gateway.md'), 'utf8')
  const [, table = ''] = /<!-- settings -->(.*)<!-- \/settings -->/s.exec(page) ?? []
  const listed = [...table.matchAll(/^\| `([\w.]+)`/gm)].map(([, name]) => name)
  expect(listed).toEqual(settingLeaves.map(({ path }) => path.join('.')))
})

test('whatever a file or a variable holds, there are settings or a refusal', () => {
  const names = settingLeaves.map(({ path }) => environmentName(path))
  fc.assert(
    fc.property(
      fc.oneof(
        fc.jsonValue(),
        fc.record({ chain: fc.jsonValue(), log: fc.jsonValue(), host: fc.jsonValue() }),
      ),
      fc.dictionary(fc.constantFrom(...names, 'KHACHAPURI_GATEWAY___proto__'), fc.string()),
      (file, env) => {
        try {
          expect(read({ file: JSON.stringify(file), env }).port).toBeTypeOf('number')
        } catch (error) {
          if (!isProtocolError(error)) throw error
          expect(['config_invalid', 'usage_invalid']).toContain(error.code)
        }
      },
    ),
  )
})
