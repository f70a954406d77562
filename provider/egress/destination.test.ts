import { isIP } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isProtocolError } from '../../protocol/errors.ts'
import { createAllowList } from './allow-list.ts'
import { type Destination, parseDestination, parsePlace } from './destination.ts'

const example = 'https://api.example.com'

test('a request line of a proxy becomes a host, a port and a target that is passed on as it came', () => {
  expect(parseDestination('https://API.Example.com/a%20b/../c?d=/#'.replace('#', ''))).toEqual({
    isSecure: true,
    hostname: 'api.example.com',
    port: 443,
    host: 'api.example.com',
    origin: example,
    target: '/a%20b/../c?d=/',
  })
  expect(parseDestination('http://api.example.com:8080')).toMatchObject({ port: 8080, target: '/' })
  expect(parseDestination('http://api.example.com?x')).toMatchObject({ target: '/?x' })
  expect(parseDestination('http://[2606:4700::1]/')).toMatchObject({ hostname: '2606:4700::1' })
})

test.each([
  ['http://2130706433/', '127.0.0.1'],
  ['http://0x7f000001/', '127.0.0.1'],
  ['http://0x7f.1/', '127.0.0.1'],
  ['http://0177.0.0.1/', '127.0.0.1'],
  ['http://017700000001/', '127.0.0.1'],
  ['http://127.1/', '127.0.0.1'],
  ['http://0/', '0.0.0.0'],
  ['http://[::ffff:127.0.0.1]/', '::ffff:7f00:1'],
  ['http://0xa9fea9fe/', '169.254.169.254'],
  ['http://%31%32%37.0.0.1/', '127.0.0.1'],
])('%s is %s, and no spelling hides that', (url, hostname) => {
  expect(parseDestination(url).hostname).toBe(hostname)
  const authority = url.slice('http://'.length, -1)
  expect(parsePlace(`${authority}:80`)).toEqual({ hostname, port: 80 })
})

test.each([
  '',
  '/',
  '*',
  'api.example.com',
  'api.example.com:443',
  'http://',
  'http:///path',
  'http:/api.example.com',
  'ftp://api.example.com/',
  'file:///etc/passwd',
  'unix:/run/docker.sock',
  'http://user@api.example.com/',
  'http://user:password@api.example.com/',
  'https://api.example.com@127.0.0.1/',
  'https://api.example.com\\@127.0.0.1/',
  'http://api.example.com:0/',
  'http://api.example.com:65536/',
  'http://api.example.com/ HTTP/1.1',
  'http://api.example.com/\r\nx: y',
  'http://api.example.com/#fragment',
  'http://api.example.com/\u00e9',
  'http://a b/',
  'http://[::1/',
  'http://127.0.0.1.5.6/',
])('%j is no request of a proxy', (target) => {
  expect(() => parseDestination(target)).toThrow(expect.objectContaining({ code: 'bad_request' }))
})

test.each([
  '',
  'api.example.com',
  'api.example.com:',
  'api.example.com:0',
  'api.example.com:65536',
  'api.example.com:-1',
  'api.example.com:http',
  'user@api.example.com:443',
  'api.example.com:443/path',
  'https://api.example.com:443',
  'api.example.com:443:443',
  'a b:443',
  ':443',
])('%j is no place to connect to', (authority) => {
  expect(() => parsePlace(authority)).toThrow(expect.objectContaining({ code: 'bad_request' }))
})

const hostileUrls = fc.oneof(
  fc.string(),
  fc.webUrl({ withQueryParameters: true }),
  fc
    .tuple(fc.constantFrom('http://', 'https://', 'HTTP://', 'http:\\\\'), fc.string())
    .map((parts) => parts.join('')),
  fc.tuple(fc.ipV4Extended(), fc.nat(70_000)).map(([ip, port]) => `http://${ip}:${port}/`),
  fc.ipV6().map((ip) => `https://[${ip}]/`),
)

const parse = (url: string): Destination | undefined => {
  try {
    return parseDestination(url)
  } catch (error) {
    if (isProtocolError(error) && error.code === 'bad_request') return undefined
    throw error
  }
}

test('any request line is a destination that means one thing, or is refused', () => {
  fc.assert(
    fc.property(hostileUrls, (text) => {
      const found = parse(text)
      if (!found) return
      expect(found.target).toMatch(/^\/[\x21-\x7e]*$/)
      expect(text.endsWith(found.target) || text.endsWith(found.target.slice(1))).toBe(true)
      expect(found.port).toBeGreaterThan(0)
      // What is checked, what is dialled and what stands in `Host` are the same.
      const again = new URL(`${found.origin}/`)
      expect(again.host).toBe(found.host)
      expect(again.hostname.replace(/[[\]]/g, '')).toBe(found.hostname)
      // Nothing is left that only a resolver would understand as an address.
      if (/^\d[\d.]*$/.test(found.hostname)) expect(isIP(found.hostname)).toBe(4)
    }),
    { numRuns: 2_000 },
  )
})

test('a list allows its origins and no other', () => {
  const list = createAllowList([example, 'http://plain.example:8080', 'http://[2606:4700::1]'])
  const may = (url: string) => list.mayRequest(parseDestination(url))
  for (const url of [
    'https://api.example.com/x',
    'https://API.EXAMPLE.COM:443/',
    'http://plain.example:8080/?y',
    'http://[2606:4700:0::1]/',
  ]) {
    expect(may(url), url).toBe(true)
  }
  for (const url of [
    'http://api.example.com/',
    'https://api.example.com:8443/',
    'https://api.example.com./',
    'https://x.api.example.com/',
    'https://api.example.com.evil.example/',
    'https://example.com/',
    'http://plain.example/',
    'https://plain.example:8080/',
  ]) {
    expect(may(url), url).toBe(false)
  }
  expect(list.mayConnect(parsePlace('api.example.com:443'))).toBe(true)
  expect(list.mayConnect(parsePlace('plain.example:8080'))).toBe(true)
  expect(list.mayConnect(parsePlace('api.example.com:80'))).toBe(false)
  expect(list.mayConnect(parsePlace('plain.example:80'))).toBe(false)
})

test('whatever is asked for, a list allows exactly what it spells, "public" the ports of the web, and "none" nothing', () => {
  fc.assert(
    fc.property(fc.array(fc.webUrl(), { minLength: 1 }), hostileUrls, (listed, text) => {
      const origins = listed.map((url) => new URL(url).origin)
      const found = parse(text)
      if (!found) return
      expect(createAllowList(origins).mayRequest(found)).toBe(origins.includes(found.origin))
      expect(createAllowList('public').mayRequest(found)).toBe(found.port === 80 || found.port === 443)
      expect(createAllowList('public').mayConnect(found)).toBe(found.port === 80 || found.port === 443)
      expect(createAllowList('none').mayRequest(found) || createAllowList('none').mayConnect(found)).toBe(
        false,
      )
    }),
  )
})
