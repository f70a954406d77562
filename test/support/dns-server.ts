import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

const types: Readonly<Record<number, string>> = { 1: 'A', 16: 'TXT', 28: 'AAAA', 257: 'CAA' }

/**
 * A name server on this machine, over TCP: every name is at 127.0.0.1, and has the TXT records that `textOf` gives
 * (RFC 1035). Each connection brings one question in one piece.
 */
export async function openDnsServer(
  textOf: (name: string) => readonly string[] | Promise<readonly string[]>,
): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', async (query: Buffer) => {
      const reply = await answer(query.subarray(2), textOf)
      const length = Buffer.alloc(2)
      length.writeUInt16BE(reply.length)
      socket.end(Buffer.concat([length, reply]))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

async function answer(
  query: Buffer,
  textOf: (name: string) => readonly string[] | Promise<readonly string[]>,
): Promise<Buffer> {
  const labels: string[] = []
  let at = 12
  for (let size = query[at]!; size > 0; size = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + size))
    at += 1 + size
  }
  const type = query.readUInt16BE(at + 1)
  const question = query.subarray(12, at + 5)
  const name = labels.join('.').toLowerCase()
  const kind = types[type]
  const values =
    kind === 'A'
      ? [Buffer.from([127, 0, 0, 1])]
      : kind === 'TXT'
        ? (await textOf(name)).map((text) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]))
        : []
  const records = values.map((value) => {
    const head = Buffer.alloc(12)
    head.writeUInt16BE(0xc00c, 0)
    head.writeUInt16BE(type, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(value.length, 10)
    return Buffer.concat([head, value])
  })
  const head = Buffer.from(query.subarray(0, 12))
  head.writeUInt16BE(0x8580, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(records.length, 6)
  head.fill(0, 8, 12)
  return Buffer.concat([head, question, ...records])
}
