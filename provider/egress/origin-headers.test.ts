import { expect, test } from 'vitest'
import { egressHeader } from '../../protocol/egress.ts'
import { fromOriginHeaders, toOriginHeaders } from './origin-headers.ts'

test('a server cannot say that it is the provider who answers, in whatever case', () => {
  const forged = ['x-a', '1', egressHeader, 'egress_exhausted', egressHeader.toUpperCase(), 'x', 'x-b', '2']
  expect(fromOriginHeaders(forged)).toEqual(['x-a', '1', 'x-b', '2'])
  // A value is no name.
  expect(fromOriginHeaders(['x-a', egressHeader])).toEqual(['x-a', egressHeader])
})

test('a program cannot name another host, nor what is between it and the proxy', () => {
  const said = [
    'Host',
    'evil.test',
    'X-Hop',
    '1',
    'Expect',
    '100-continue',
    'Proxy-Authorization',
    'x',
    'X-End',
    '2',
  ]
  expect(toOriginHeaders(said, { connection: 'close, x-hop', host: 'api.test:1' })).toEqual([
    'host',
    'api.test:1',
    'X-End',
    '2',
  ])
})
