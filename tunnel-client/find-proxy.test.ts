import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isProtocolError } from '../protocol/errors.ts'
import { findProxy } from './find-proxy.ts'

const proxyOf = (url: string, env: Record<string, string>) => findProxy(new URL(url), env)?.href
const secure = 'wss://market.example/_/tunnel'
const plain = 'ws://market.example/_/tunnel'

test('each scheme has its variable, in either case, and one stands for both', () => {
  const env = { HTTPS_PROXY: 'http://a:1', http_proxy: 'b:2' }
  expect([proxyOf(secure, env), proxyOf(plain, env)]).toEqual(['http://a:1/', 'http://b:2/'])
  expect([proxyOf(secure, { ALL_PROXY: 'c:3' }), proxyOf(plain, { HTTPS_PROXY: 'a:1' })]).toEqual([
    'http://c:3/',
    undefined,
  ])
  expect(proxyOf(secure, { https_proxy: 'small:1', HTTPS_PROXY: 'large:1' })).toBe('http://small:1/')
  expect([proxyOf(secure, {}), proxyOf(secure, { HTTPS_PROXY: ' ' })]).toEqual([undefined, undefined])
})

test.each([
  ['*', secure],
  ['other.example, market.example', secure],
  ['.example', secure],
  ['*.example', secure],
  ['example', 'wss://a.b.example/'],
  ['market.example:443', secure],
  ['market.example:8080', 'wss://market.example:8080/'],
  ['10.0.0.1', 'ws://10.0.0.1/'],
  ['fd00::1', 'ws://[fd00::1]/'],
])('NO_PROXY=%s spares %s', (list, url) => {
  expect(proxyOf(url, { ALL_PROXY: 'p:1', NO_PROXY: list })).toBe(undefined)
})

test.each([
  ['xample', secure],
  ['market.example:8443', secure],
  ['market.example.org', secure],
  ['', secure],
])('NO_PROXY=%s does not spare %s', (list, url) => {
  expect(proxyOf(url, { ALL_PROXY: 'p:1', NO_PROXY: list })).toBe('http://p:1/')
})

test.each(['ws://localhost:8080/', 'ws://bob.localhost/', 'ws://127.0.0.1:1/', 'ws://[::1]/'])(
  'no proxy leads back to this machine: %s',
  (url) => expect(proxyOf(url, { ALL_PROXY: 'p:1' })).toBe(undefined),
)

test('what is no HTTP proxy is refused, and its password is not repeated', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('socks5://u:hunter2@p:1', 'http://u:hunter2@:x', 'file:///hunter2'),
      (text) => {
        try {
          proxyOf(secure, { HTTPS_PROXY: text })
          expect.unreachable()
        } catch (error) {
          expect(isProtocolError(error) && error.code).toBe('config_invalid')
          expect(String(error)).not.toContain('hunter2')
        }
      },
    ),
  )
})
