// Plain JavaScript for whatever Node (20 or newer) is on the PATH: brings the project's own Node and the locked
// packages when they are missing, then runs a script of the project with them.
//   node devnet/with-node.mjs <script.ts> [arguments]
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const node = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node')
const stamp = join(root, 'node_modules', '.khachapuri-lock')

if (Number(process.versions.node.split('.')[0]) < 20) {
  fail(
    `Node ${process.versions.node} is too old.`,
    'Install Node 20 or newer; the project brings its own Node 26 itself.',
  )
}

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const lockDigest = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex')
const isInstalled = existsSync(node) && existsSync(stamp) && readFileSync(stamp, 'utf8') === lockDigest

if (!isInstalled) {
  const version = manifest.devDependencies.node
  console.error(`Installing Node ${version} and the locked packages (once; a minute or so) …`)
  // npm itself must run under the new Node, so that it picks the native packages of that version.
  const { status, error } = spawnSync(
    'npx',
    ['--yes', '--package', `node@${version}`, 'npm', 'ci', '--include=dev', '--no-audit', '--no-fund'],
    { cwd: root, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' },
  )
  if (error || status !== 0) {
    fail(
      'The packages could not be installed.',
      "See npm's message above; the package registry must be reachable once.",
    )
  }
  writeFileSync(stamp, lockDigest)
  console.error('Installed.')
}

const [script, ...rest] = process.argv.slice(2)
const child = spawn(node, ['--disable-warning=ExperimentalWarning', join(root, script), ...rest], {
  stdio: 'inherit',
})
// Ctrl-C reaches the whole foreground group; a signal sent to this process alone is passed on.
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
process.on('SIGINT', () => {})
child.on('error', (error) =>
  fail(`The project's Node did not start: ${error.message}`, 'Remove node_modules and try again.'),
)
child.on('exit', (code, signal) => {
  process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 143)
})

function fail(what, next) {
  console.error(`${what}\n${next}`)
  process.exit(70)
}
