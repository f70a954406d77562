import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import { askCertificates } from './ask-certificates.ts'

const pair = (cert: string) => ({ cert, key: `key of ${cert}` })

test('the first process is asked once for all who wait, and again after a minute, where the same stays the same', async () => {
  const clock = createTestClock()
  const asked: string[] = []
  const certificates = askCertificates({ clock }, (id, servername) => void asked.push(`${id} ${servername}`))
  const waiting = [certificates.find('shop.example'), certificates.find('shop.example')]
  const other = certificates.find('other.example')
  expect(asked).toEqual(['0 shop.example', '1 other.example'])
  certificates.hear(1, undefined)
  certificates.hear(0, pair('one'))
  certificates.hear(7, pair('nobody asked'))
  const [first, second] = await Promise.all(waiting)
  expect([first, await other]).toEqual([pair('one'), undefined])
  expect(second).toBe(first)
  expect(await certificates.find('shop.example')).toBe(first)

  await clock.advance(limits.domainCertificateHeardMs)
  const again = certificates.find('shop.example')
  certificates.hear(2, pair('one'))
  // The context that was made for it is used again.
  expect(await again).toBe(first)
  await clock.advance(limits.domainCertificateHeardMs)
  const renewed = certificates.find('shop.example')
  certificates.hear(3, pair('two'))
  expect(await renewed).toEqual(pair('two'))

  // Who has none is asked for anew: it may have one in a moment.
  void certificates.find('other.example')
  expect(asked.at(-1)).toBe('4 other.example')
})
