import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import { createHandshakeLimiter } from './handshake-limiter.ts'

function setup() {
  const clock = createTestClock()
  const limiter = createHandshakeLimiter({ clock })
  /** Handshakes that are over at once. */
  const tryTimes = (address: string, times: number) => {
    let begun = 0
    for (let index = 0; index < times; index++) {
      if (!limiter.tryBegin(address)) continue
      begun++
      limiter.end(address)
    }
    return begun
  }
  return { clock, limiter, tryTimes }
}
const max = limits.tunnelHandshakesPerAddressMax

test('an address that tries too often waits for the next window, and others do not', async () => {
  const { clock, tryTimes } = setup()
  expect(tryTimes('192.0.2.1', max + 5)).toBe(max)
  expect(tryTimes('192.0.2.2', 1)).toBe(1)
  await clock.advance(limits.tunnelHandshakeWindowMs)
  expect(tryTimes('192.0.2.1', 1)).toBe(1)
})

test('hosts of one IPv6 network count as one, however their addresses are written', () => {
  const { tryTimes } = setup()
  expect(tryTimes('2001:db8:0:7::1', max)).toBe(max)
  expect(tryTimes('2001:db8:0:7:1:2:3:4', 1)).toBe(0)
  expect(tryTimes('2001:db8:0:8::1', 1)).toBe(1)
})

test('an IPv4 address is the same when it is mapped into IPv6', () => {
  const { tryTimes } = setup()
  expect(tryTimes('192.0.2.1', max)).toBe(max)
  expect(tryTimes('::ffff:192.0.2.1', 1)).toBe(0)
})

test('all addresses together have a limit, too', () => {
  const { limiter } = setup()
  let begun = 0
  for (let index = 0; index < limits.tunnelHandshakesMax + 10; index++) {
    if (limiter.tryBegin(`192.0.2.${index % 250}`)) begun++
  }
  expect(begun).toBe(limits.tunnelHandshakesMax)
  limiter.end('192.0.2.1')
  expect(limiter.tryBegin('198.51.100.1')).toBe(true)
})

test('of more addresses than there may be tunnels, none is remembered within one window', async () => {
  const { clock, tryTimes } = setup()
  for (let n = 0; n < limits.tunnelsMax; n++) expect(tryTimes(`192.${n >> 8}.${n & 255}.1`, 1)).toBe(1)
  expect(tryTimes('198.51.100.1', 1)).toBe(0)
  expect(tryTimes('192.0.7.1', 1)).toBe(1)
  await clock.advance(limits.tunnelHandshakeWindowMs)
  expect(tryTimes('198.51.100.1', 1)).toBe(1)
})

test('ten thousand connections of a few addresses that say nothing keep nobody else out', () => {
  const { limiter } = setup()
  let begun = 0
  for (let index = 0; index < 10_000; index++) if (limiter.tryBegin(`192.0.2.${index % 20}`)) begun++
  expect(begun).toBe(20 * limits.tunnelHandshakesPendingPerAddressMax)
  expect(limiter.tryBegin('198.51.100.1')).toBe(true)
  // One that ends makes room for its own address.
  limiter.end('192.0.2.3')
  expect([limiter.tryBegin('192.0.2.3'), limiter.tryBegin('192.0.2.3')]).toEqual([true, false])
})
