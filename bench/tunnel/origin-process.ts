import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A web server: `GET /` is small, `GET /bytes/<n>` is a body of that size, `POST` tells how much came. */
const chunk = Buffer.alloc(256 * 1024, 'khachapuri ')

const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
  const [, size] = /^\/bytes\/(\d+)/.exec(request.url ?? '') ?? []
  if (request.method === 'POST') {
    let bytes = 0
    request.on('data', (part: Buffer) => (bytes += part.length))
    request.on('end', () => response.end(`${bytes}`))
  } else if (size !== undefined) {
    let left = Number(size)
    response.writeHead(200, { 'content-length': left })
    const proceed = () => {
      while (left > 0) {
        const part = chunk.subarray(0, Math.min(left, chunk.length))
        left -= part.length
        if (!response.write(part)) return
      }
      response.end()
    }
    response.on('drain', proceed)
    proceed()
  } else {
    response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 14 })
    response.end('Hello, world!\n')
  }
})
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }))
})
