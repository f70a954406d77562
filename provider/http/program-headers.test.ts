import { expect, test } from 'vitest'
import { recordHeaders } from '../../protocol/call.ts'
import { isNobodys, toCallerHeaders, toProgramHeaders } from './program-headers.ts'

test('a caller cannot speak as the provider, in whatever spelling a server may read as the same name', () => {
  const forged = [
    recordHeaders.seed,
    recordHeaders.seed.replaceAll('-', '_'),
    'KHACHAPURI_Call',
    'Khachapuri-X',
  ]
  const sent = forged.flatMap((name) => [name, 'forged'])
  expect(toProgramHeaders([...sent, 'x-a', '1'], isNobodys)).toEqual(['x-a', '1'])
})

test('a program gets no money of its caller, and the host that was called', () => {
  const sent = [
    'Authorization',
    'Bearer kp1.e30.AA',
    'Host',
    'inside',
    'X-Forwarded-Host',
    'called.test',
    'TE',
    'x',
  ]
  expect(toProgramHeaders(sent, isNobodys)).toEqual([
    'Host',
    'called.test',
    'X-Forwarded-Host',
    'called.test',
  ])
  expect(toProgramHeaders(['Authorization', 'Bearer its-own'], isNobodys)).toEqual([
    'Authorization',
    'Bearer its-own',
  ])
})

test('a program cannot speak as the provider, nor about the connection', () => {
  const said = [
    'Khachapuri-Receipt',
    'x',
    'Connection',
    'close',
    'Transfer-Encoding',
    'chunked',
    'X-Own',
    '1',
  ]
  expect(toCallerHeaders(said, isNobodys)).toEqual(['X-Own', '1'])
  expect(toCallerHeaders(said, (name) => name === 'x-own')).toEqual([])
})
