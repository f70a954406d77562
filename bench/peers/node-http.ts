import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The hello program without anything around it: what Node's own server does at most. */
const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 14 })
  response.end('Hello, world!\n')
})
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }))
})
