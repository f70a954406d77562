import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clusterHopHeader, processHopHeader } from '../../protocol/http/headers.ts'
import { openGatewayFront } from '../support/gateway-front.ts'
import { openOrigin } from '../support/http-origin.ts'
import { allWays, openFront, ways } from '../support/provider-ways.ts'

/** Headers by which a caller poses as a gateway, or a provider as the gateway or as its neighbours. */

const alice = 'alice.localhost'

describe.each(ways)('%s', (way) => {
  test('a provider hears one word about the caller, and it is the gateway’s', async () => {
    await using provider = await openOrigin((request, response) => {
      response.end(JSON.stringify(request.rawHeaders))
    })
    await using front = await openFront(way, provider.port)
    const spoofed = [
      ...['X-Forwarded-For', 'x-forwarded-for', 'X_Forwarded_For', 'X-Forwarded_For', 'X-FORWARDED-FOR'],
      ...[
        'X-Forwarded-Host',
        'X_Forwarded_Host',
        'X-Forwarded-Proto',
        'X-Forwarded-Port',
        'X-Forwarded-Prefix',
      ],
      ...['X-Forwarded-Server', 'X-Forwarded-By', 'X-Forwarded-Client-Cert', 'X-Forwarded-Anything'],
      ...['Forwarded', 'X-Real-IP', 'X_Real_IP', 'X-Request-Id', 'x_request_id', 'Khachapuri_Seed'],
    ].map((name) => `${name}: 6.6.6.6 evil\r\n`)
    const answer = await front.sendRaw(
      `GET / HTTP/1.1\r\nHost: ${alice}\r\nConnection: close\r\n${spoofed.join('')}\r\n`,
    )
    expect(answer).toContain('HTTP/1.1 200 OK')
    const seen = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))) as string[]
    expect(seen.join('\n')).not.toContain('evil')
    const names = seen.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase().replaceAll('_', '-'))
    for (const name of [
      'host',
      'x-forwarded-for',
      'x-forwarded-host',
      'x-forwarded-proto',
      'x-request-id',
      'via',
    ]) {
      expect([name, names.filter((one) => one === name).length]).toEqual([name, 1])
    }
    expect(names).not.toContain('forwarded')
    expect(seen[seen.indexOf('x-forwarded-for') + 1]).toBe('127.0.0.1')
  })

  test('an answer says of the gateway only what the gateway says', async () => {
    await using provider = await openOrigin((_, response) => {
      response.writeHead(200, [
        ...['X-Request-Id', 'forged', 'Khachapuri-Name-Age', '0', 'khachapuri-provider', 'bob'],
        ...['Service-Worker-Allowed', '/', 'Connection', 'X-Hop', 'X-Hop', 'gone', 'Via', '1.1 inner'],
        ...['Clear-Site-Data', '"cache", "cookies", "storage"', 'clear-site-data', '"*"'],
      ])
      response.end()
    })
    await using front = await openFront(way, provider.port)
    const { headers } = await front.ask(alice, { headers: { 'x-request-id': 'mine' } })
    expect(headers['x-request-id']).toBe('mine')
    expect(headers).not.toHaveProperty('khachapuri-name-age')
    expect(headers).not.toHaveProperty('khachapuri-provider')
    expect(headers).not.toHaveProperty('service-worker-allowed')
    expect(headers).not.toHaveProperty('x-hop')
    expect(headers['clear-site-data']).toBe('"cache", "storage"')
    expect(headers['via']).toBe(`1.1 inner, 1.1 ${front.gateway.domain}`)
  })

  test('no redirect is followed, wherever it leads', async () => {
    await using secret = await openOrigin((_, response) => response.end('secret'))
    const locations = [secret.url, `//127.0.0.1:${secret.port}/`, '/\\127.0.0.1', 'http://169.254.169.254/']
    await using provider = await openOrigin((request, response) => {
      response.writeHead(307, { location: locations[Number(request.url?.slice(1))] }).end()
    })
    await using front = await openFront(way, provider.port)
    for (const [i, location] of locations.entries()) {
      expect(await front.ask(alice, { path: `/${i}` })).toMatchObject({ status: 307, headers: { location } })
    }
    expect(secret.requests()).toBe(0)
  })
})

test.each(allWays)('nobody says to a gateway where to hand a request over, %s', async (way) => {
  const seen: string[] = []
  await using provider = await openOrigin((request, response) => {
    seen.push(...request.rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase()))
    response.end('alice')
  })
  await using front = await openFront(way, provider.port)
  for (const to of ['control', `0x${'b2'.repeat(20)}`, '']) {
    const headers = { [processHopHeader]: to, [clusterHopHeader]: to }
    expect((await front.ask(alice, { headers })).body.toString()).toBe('alice')
  }
  expect(seen).not.toContain(clusterHopHeader)
  expect(seen).not.toContain(processHopHeader)
})

/** Whose cookie it is, as RFC 6265 section 5.2 reads it; undefined for that of the very host. */
function readDomain(cookie: string): string | undefined {
  const [, ...attributes] = cookie.split(';')
  let domain: string | undefined
  for (const attribute of attributes) {
    const equals = attribute.indexOf('=')
    const name = (equals < 0 ? attribute : attribute.slice(0, equals)).replace(/^[\t ]+|[\t ]+$/g, '')
    const value = equals < 0 ? '' : attribute.slice(equals + 1).replace(/^[\t ]+|[\t ]+$/g, '')
    if (name.toLowerCase() === 'domain' && value !== '') domain = value.replace(/^\./, '').toLowerCase()
  }
  return domain
}

test('however a cookie spells its domain, it never leaves the host that was called', async () => {
  const spaces = fc.stringMatching(/^[\t ]{0,2}$/)
  const domain = fc
    .tuple(
      spaces,
      fc.constantFrom('Domain', 'domain', 'DOMAIN', 'dOmAiN', 'Domain ', 'Path', 'Domain\t'),
      fc.constantFrom('=', ' = ', '=\t', '', '=='),
      fc.constantFrom(
        'localhost',
        '.localhost',
        'LOCALHOST',
        'bob.localhost',
        '"localhost"',
        '',
        alice,
        `.${alice}`,
      ),
    )
    .map((parts) => parts.join(''))
  const cookie = fc
    .tuple(
      fc.constantFrom('a=1', '', 'a', '=', 'Domain=localhost', 'a="x'),
      fc.array(fc.oneof(domain, fc.constantFrom('Secure', 'HttpOnly', '', ' Path=/')), { maxLength: 4 }),
    )
    .map(([pair, attributes]) => [pair, ...attributes].join(';'))
  const cookies = fc.sample(cookie, { numRuns: 400, seed: 7 })
  await using provider = await openOrigin((request, response) => {
    const at = Number(request.url?.slice(1))
    response
      .writeHead(
        200,
        cookies.slice(at, at + 40).flatMap((value) => ['set-cookie', value]),
      )
      .end()
  })
  await using front = await openGatewayFront({ alice: provider.url })
  for (let at = 0; at < cookies.length; at += 40) {
    const answer = await front.ask(alice, { path: `/${at}` })
    const set = answer.headers['set-cookie'] ?? []
    expect(set).toHaveLength(40)
    for (const value of set) expect([undefined, alice]).toContain(readDomain(value))
  }
})
