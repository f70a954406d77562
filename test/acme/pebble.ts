import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../support/free-port.ts'
import type { TestAuthority } from '../support/tls.ts'

/** Let's Encrypt's own ACME server for tests. */
const version = 'v2.10.1'
const module = 'github.com/letsencrypt/pebble/v2/cmd/pebble'

/** Builds the server where Go is there, once; undefined where it is not. */
export async function buildPebble(): Promise<string | undefined> {
  const dir = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'khachapuri-test', version)
  const path = join(dir, 'pebble')
  const isThere = () =>
    access(path).then(
      () => true,
      () => false,
    )
  if (await isThere()) return path
  await mkdir(dir, { recursive: true })
  const child = spawn('go', ['install', `${module}@${version}`], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, GOBIN: dir, GOFLAGS: '-mod=mod' },
    // Where nobody answers for modules there is no server, and its tests are skipped by name.
    timeout: 300_000,
  })
  await new Promise((resolve) => child.once('exit', resolve).once('error', resolve))
  return (await isThere()) ? path : undefined
}

export interface Pebble extends AsyncDisposable {
  readonly directoryUrl: string
}

/** Starts the server, which looks names up at `dnsPort` and comes to `httpPort` for proofs over HTTP. */
export async function startPebble(
  path: string,
  { authority, dnsPort, httpPort }: { authority: TestAuthority; dnsPort: number; httpPort: number },
): Promise<Pebble> {
  const dir = await mkdtemp(join(tmpdir(), 'pebble-'))
  const pair = await authority.sign('localhost')
  await writeFile(join(dir, 'cert.pem'), pair.cert)
  await writeFile(join(dir, 'key.pem'), pair.key, { mode: 0o600 })
  const port = await freePort()
  const config = {
    pebble: {
      listenAddress: `127.0.0.1:${port}`,
      certificate: join(dir, 'cert.pem'),
      privateKey: join(dir, 'key.pem'),
      httpPort,
      tlsPort: httpPort,
      retryAfter: { authz: 1, order: 1 },
      keyAlgorithm: 'ecdsa',
      profiles: { default: { description: 'Three months', validityPeriod: 7_776_000 } },
    },
  }
  await writeFile(join(dir, 'config.json'), JSON.stringify(config))
  const child = spawn(path, ['-config', join(dir, 'config.json'), '-dnsserver', `127.0.0.1:${dnsPort}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PEBBLE_VA_NOSLEEP: '1' },
  })
  child.stderr.resume()
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.once('exit', () => reject(new Error(`Pebble ended: ${said}`)))
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said = (said + text).slice(-4_000)
        if (said.includes('Listening on')) resolve()
      })
    }
  })
  return {
    directoryUrl: `https://localhost:${port}/dir`,
    async [Symbol.asyncDispose]() {
      child.kill()
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      await rm(dir, { recursive: true })
    },
  }
}
