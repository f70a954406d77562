import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isHeaderValue, isToken } from './header-syntax.ts'
import { connectionOptions, forwardHeaders, headerValues } from './headers.ts'

const facts = {
  connection: undefined,
  host: 'origin.example',
  forwardedHost: 'alice.gw.example',
  forwardedProto: 'https',
  remoteAddress: '192.0.2.7',
  requestId: 'r1',
  via: 'gw.example',
} as const

test('a gateway tells the truth about the caller, whatever the caller said', () => {
  const rawHeaders = [
    'Host',
    'evil',
    'X-Forwarded-For',
    '6.6.6.6',
    'x-forwarded-Proto',
    'gopher',
    'Forwarded',
    'for=6.6.6.6',
    'X-Real-IP',
    '6.6.6.6',
    'X-Request-Id',
    'forged',
  ]
  expect(forwardHeaders({ ...facts, rawHeaders })).toMatchInlineSnapshot(`
    [
      "host",
      "origin.example",
      "x-forwarded-for",
      "192.0.2.7",
      "x-forwarded-proto",
      "https",
      "x-forwarded-host",
      "alice.gw.example",
      "x-request-id",
      "r1",
      "via",
      "1.1 gw.example",
    ]
  `)
})

test('end-to-end headers keep order, case and duplicates; hop-by-hop ones and those named by Connection go', () => {
  const rawHeaders = [
    'Cookie',
    'a=1',
    'Connection',
    'close, X-Secret-Hop',
    'X-Secret-Hop',
    'gone',
    'TE',
    'trailers',
    'cookie',
    'b=2',
    'Via',
    '1.0 before',
    'Expect',
    '100-continue',
  ]
  const forwarded = forwardHeaders({ ...facts, rawHeaders, connection: 'close, X-Secret-Hop' })
  expect(forwarded.slice(2, 6)).toEqual(['Cookie', 'a=1', 'cookie', 'b=2'])
  expect(headerValues(forwarded, 'via')).toEqual(['1.0 before, 1.1 gw.example'])
  expect(headerValues(forwarded, 'x-secret-hop')).toEqual([])
  expect(headerValues(forwarded, 'te')).toEqual([])
  expect(headerValues(forwarded, 'expect')).toEqual([])
})

test('Connection options are read without case and noise', () => {
  expect(connectionOptions('Keep-Alive, ,X-A ,close')).toEqual(['x-a'])
  expect(connectionOptions(undefined)).toEqual([])
})

test('no text with a line break or NUL is a header name or value', () => {
  fc.assert(
    fc.property(fc.string(), fc.constantFrom('\r', '\n', '\0'), fc.string(), (before, bad, after) => {
      expect(isHeaderValue(before + bad + after)).toBe(false)
      expect(isToken(before + bad + after)).toBe(false)
    }),
  )
})
