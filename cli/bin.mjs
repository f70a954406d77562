#!/usr/bin/env -S node --
// Starts the command line with the project's own Node. This file must run on Node 20, so it is plain JavaScript.
// Node takes --env-file for its own wherever it stands, unless a -- stands before it.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

const ownNode = fileURLToPath(new URL('../node_modules/.bin/node', import.meta.url))
const main = new URL('./main.ts', import.meta.url)

if (!existsSync(ownNode)) {
  console.error(
    `Error: khachapuri needs its own Node 26, and ${ownNode} is not there.\n` +
      'Run "npm ci" in the directory of khachapuri (or "npm start", which does it for you), then try again.',
  )
  process.exitCode = 1
} else if (Number(process.versions.node.split('.')[0]) >= 26) await import(main.href)
else runWithOwnNode()

/** Stands aside: same streams, same signals, same exit. */
function runWithOwnNode() {
  const child = spawn(ownNode, ['--', fileURLToPath(main), ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) {
    process.on(signal, () => child.kill(signal))
  }
  child.on('error', (error) => {
    console.error(`Error: ${ownNode} does not start: ${error.message}\nRun "npm ci" again.`)
    process.exitCode = 1
  })
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}
