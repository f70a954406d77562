// Plain JavaScript for whatever Node (20 or newer) is on the PATH: brings the project's own Node and the locked
// packages when they are missing, then runs a script of the project with them.
//   node devnet/with-node.mjs <script.ts> [arguments]
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const isWindows = process.platform === 'win32'
const node = join(root, 'node_modules', '.bin', isWindows ? 'node.cmd' : 'node')

if (Number(process.versions.node.split('.')[0]) < 20) {
  fail(
    `Node ${process.versions.node} is too old.`,
    'Install Node 20 or newer; the project brings its own Node 26 itself.',
  )
}
if (!isInstalled()) await install()
await run(process.argv.slice(2))

/** Whether what npm last put into node_modules is what the lockfile says, but for what other machines need. */
function isInstalled() {
  const here = readLock(join(root, 'node_modules', '.package-lock.json'))
  const wanted = readLock(join(root, 'package-lock.json'))
  if (!existsSync(node) || !here || !wanted) return false
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true
    return here[path] ? here[path].version === version : optional === true
  })
}

function readLock(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages
  } catch {
    return undefined
  }
}

async function install() {
  const { version } = readLock(join(root, 'package-lock.json'))?.['node_modules/node'] ?? {}
  if (!version) fail('package-lock.json names no Node.', 'Take it from the repository again.')
  console.error(`Installing Node ${version} and the locked packages (once; a minute or so) …`)
  const startedMs = performance.now()
  const reminder = setInterval(() => {
    console.error(`  still installing after ${Math.round((performance.now() - startedMs) / 1000)} s …`)
  }, 10_000)
  // npm itself must run under the new Node, so that it picks the native packages of that version.
  const npm = [
    '--yes',
    '--package',
    `node@${version}`,
    'npm',
    'ci',
    '--include=dev',
    '--no-audit',
    '--no-fund',
  ]
  const { error, code } = await waitFor(
    spawn('npx', npm, { cwd: root, stdio: ['ignore', 2, 2], shell: isWindows }),
  )
  clearInterval(reminder)
  if (code > 128) process.exit(code)
  if (error || code !== 0) {
    fail(
      'The packages could not be installed.',
      "See npm's message above; the package registry must be reachable once.",
    )
  }
  console.error('Installed.')
}

async function run([script, ...rest]) {
  const args = ['--disable-warning=ExperimentalWarning', join(root, script), ...rest]
  const { error, code } = await waitFor(spawn(node, args, { stdio: 'inherit' }))
  if (error) fail(`The project's Node did not start: ${error.message}`, 'Remove node_modules and try again.')
  process.exitCode = code
}

/**
 * Waits for a process to end. Ctrl-C at a terminal reaches the whole group, a signal of npm or of a service manager this
 * process alone; whoever hears the same signal twice takes it for one.
 */
function waitFor(child) {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
  const pass = (signal) => child.kill(signal)
  for (const signal of signals) process.on(signal, pass)
  return new Promise((resolve) => {
    child.on('error', (error) => resolve({ error, code: 1 }))
    child.on('exit', (code, signal) => resolve({ code: code ?? 128 + constants.signals[signal] }))
  }).finally(() => {
    for (const signal of signals) process.off(signal, pass)
  })
}

function fail(what, next) {
  console.error(`${what}\n${next}`)
  process.exit(70)
}
