import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { openPlainListener, type PlainTarget } from './plain-listener.ts'

async function setup(target: PlainTarget | undefined = { domain: 'market.example', port: '' }) {
  const listener = await openPlainListener({
    host: '127.0.0.1',
    port: 0,
    target: () => target,
    challenge: (token) => (token === 'known' ? 'known.thumbprint' : undefined),
  })
  return {
    async ask(host: string, line = 'GET /a?b') {
      const socket = connect(listener.port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write(`${line} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`, 'latin1')
      const answer = await text(socket)
      return {
        status: Number(answer.slice(9, 12)),
        location: /^location: (.*)\r$/im.exec(answer)?.[1],
        code: /"code":"(\w+)"/.exec(answer)?.[1],
        body: answer.split('\r\n\r\n')[1],
      }
    },
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  }
}

test('browsers are led to https, on the host that they called', async () => {
  await using at = await setup()
  expect(await at.ask('alice.market.example:80')).toMatchObject({
    status: 308,
    location: 'https://alice.market.example/a?b',
  })
  expect(await at.ask('MARKET.example', 'HEAD /')).toMatchObject({
    status: 308,
    location: 'https://market.example/',
  })
  expect(await at.ask('market.example', 'GET //evil.example/x')).toMatchObject({
    location: 'https://market.example//evil.example/x',
  })
  await using odd = await setup({ domain: 'localhost', port: '8443' })
  expect(await odd.ask('bob.localhost:8080')).toMatchObject({ location: 'https://bob.localhost:8443/a?b' })
  expect((await odd.ask('evil.example')).body).toContain('Call https://<provider>.localhost:8443/<cid>.')
})

test('what a browser does not repeat by itself is refused, and foreign hosts are none of ours', async () => {
  await using at = await setup()
  expect(await at.ask('alice.market.example', 'POST /cid')).toMatchObject({
    status: 403,
    code: 'https_required',
  })
  for (const host of [
    'evil.example',
    'market.example.evil',
    'a.b.market.example',
    'market.example@evil.example',
    '',
  ]) {
    expect(await at.ask(host)).not.toHaveProperty('location', expect.anything())
  }
  expect(await at.ask('evil.example')).toMatchObject({ status: 421, code: 'host_unknown' })
  // An address can be anybody's: it stands for the gateway itself.
  expect(await at.ask('6.6.6.6')).toMatchObject({ location: 'https://market.example/a?b' })
  expect(await at.ask('market.example', 'GET http://evil.example/')).toMatchObject({
    status: 400,
    code: 'bad_request',
  })
})

test('an ACME server finds its proof, whatever it calls the gateway; nobody finds another', async () => {
  await using at = await setup()
  expect(await at.ask('10.0.0.1', 'GET /.well-known/acme-challenge/known')).toMatchObject({
    status: 200,
    body: 'known.thumbprint',
  })
  expect(await at.ask('market.example', 'GET /.well-known/acme-challenge/other')).toMatchObject({
    status: 308,
  })
})

test('before there is a certificate nobody is led anywhere', async () => {
  await using at = await setup()
  void at
  const listener = await openPlainListener({ host: '127.0.0.1', port: 0, target: () => undefined })
  const socket = connect(listener.port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: market.example\r\nConnection: close\r\n\r\n')
  expect(await text(socket)).toMatch(/^HTTP\/1\.1 403 /)
  await listener[Symbol.asyncDispose]()
})

test('whatever the host says, nobody is led to a host that is not the gateway or below it', async () => {
  await using at = await setup()
  const part = fc.constantFrom(
    'market.example',
    'evil.example',
    '.',
    '@',
    '/',
    ':',
    '#',
    '?',
    '\\',
    '%2e',
    'alice',
    '[::1]',
    ' ',
    '443',
  )
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 5 }), async (parts) => {
      const { location } = await at.ask(parts.join(''))
      if (location === undefined) return
      expect(new URL(location).hostname).toMatch(/^([a-z0-9-]+\.)?market\.example$/)
    }),
    { numRuns: 150 },
  )
})
