import { connect, createServer, type Socket } from 'node:net'
import { runCli } from '../../cli/cli.ts'

/**
 * A laptop behind a router, as a process in a network that has only loopback: a web server on 127.0.0.1, the command line,
 * and a router that lets connections out and none in. Out is a Unix socket, which is in no network.
 *
 * @param argv - port of the gateway, Unix socket of the router, then the words after `khachapuri tunnel --to <service>`
 */
const [port = '', way = '', ...words] = process.argv.slice(2)

const relay = (inside: Socket) => {
  const outside = connect(way)
  inside.pipe(outside).pipe(inside)
  inside.on('error', () => outside.destroy())
  outside.on('error', () => inside.destroy())
}
for (const host of ['127.0.0.1', '::1'])
  createServer(relay)
    .on('error', () => undefined)
    .listen(Number(port), host)
const { createServer: createWebServer } = await import('node:http')
const web = createWebServer((request, response) =>
  response.end(`hello from behind the router, ${request.url}`),
)
await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
const { port: webPort } = web.address() as { port: number }
const interrupted = new AbortController()
process.on('SIGTERM', () => interrupted.abort(new DOMException('Interrupted.', 'AbortError')))
const code = await runCli(
  ['tunnel', '--to', String(webPort), ...words],
  {
    cwd: process.cwd(),
    env: process.env,
    stdin: process.stdin,
    writeOut: (output) => void process.stdout.write(output),
    writeError: (text) => void process.stderr.write(text),
  },
  interrupted.signal,
)
process.exit(code)
