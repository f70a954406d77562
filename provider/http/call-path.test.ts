import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseRoute } from './call-path.ts'

const cid = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

test('a program sees what follows its CID', () => {
  expect(parseRoute(`/${cid}`)).toEqual({ kind: 'call', cid, target: '/' })
  expect(parseRoute(`/${cid}/`)).toEqual({ kind: 'call', cid, target: '/' })
  expect(parseRoute(`/${cid}?x=1/2`)).toEqual({ kind: 'call', cid, target: '/?x=1/2' })
  expect(parseRoute(`/${cid}/a//b?x=/y`)).toEqual({ kind: 'call', cid, target: '/a//b?x=/y' })
})

test('a malformed CID is still meant as one, so that the answer says what is wrong with it', () => {
  expect(parseRoute('/bafnope/x')).toEqual({ kind: 'call', cid: 'bafnope', target: '/x' })
})

test('the provider keeps its own pages', () => {
  for (const path of ['/', '/?a', '/_/info', '/ipfs/abc', '/healthz'])
    expect(parseRoute(path)).toEqual({ kind: 'page' })
})

test('any other path is refused, and no path crashes', () => {
  expect(() => parseRoute('/favicon.ico')).toThrow(expect.objectContaining({ code: 'not_found' }))
  fc.assert(
    fc.property(
      fc.array(fc.webSegment({ size: 'xsmall' }), { maxLength: 4 }).map((parts) => parts.join('/')),
      (path) => {
        try {
          expect(parseRoute(`/${path}`).kind).toMatch(/page|call/)
        } catch (error) {
          expect(error).toMatchObject({ code: 'not_found' })
        }
      },
    ),
  )
})
