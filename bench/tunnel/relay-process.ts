import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/**
 * A long line: what is sent to it arrives half a round trip later at a port of this machine, and back. SIGUSR2 resets one of
 * its connections at both ends.
 *
 * @param argv - milliseconds of a round trip. The port behind it is the first line that it is sent.
 */
const delayMs = Number(process.argv[2]) / 2
let target = 0
const pairs = new Set<readonly [Socket, Socket]>()

const delay = (from: Socket, to: Socket) => {
  from.on('data', (chunk: Buffer) => void setTimeout(() => to.write(chunk), delayMs))
  from.on('close', () => void setTimeout(() => to.destroy(), delayMs))
  from.on('error', () => undefined)
}
const line = createServer((inside) => {
  const outside = connect(target, '127.0.0.1')
  for (const socket of [inside, outside]) socket.setNoDelay(true)
  const pair = [inside, outside] as const
  pairs.add(pair)
  inside.on('close', () => pairs.delete(pair))
  delay(inside, outside)
  delay(outside, inside)
})
const control = createServer((socket) => {
  socket.on('data', (text: Buffer) => {
    target = Number(text)
    socket.end('ok')
  })
})
process.on('SIGUSR2', () => {
  for (const pair of pairs) {
    for (const socket of pair) socket.resetAndDestroy()
    return
  }
})
control.listen(0, '127.0.0.1', () => {
  line.listen(0, '127.0.0.1', () => {
    const portOf = (server: typeof line) => (server.address() as AddressInfo).port
    console.log(JSON.stringify({ port: portOf(line), controlPort: portOf(control) }))
  })
})
