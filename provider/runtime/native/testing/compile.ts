import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Whether this machine can build and contain native programs: tests that need that are skipped by name otherwise. */
export const canRunNatively = findCompiler() !== undefined && answers('bwrap')

/** Compiles a file of this folder to a static binary. */
export function compile(name: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'khachapuri-cc-'))
  try {
    const path = join(folder, 'program')
    const flags = ['-static', '-O1', '-D_GNU_SOURCE', '-pthread', '-o', path]
    execFileSync(findCompiler()!, [...flags, join(import.meta.dirname, name)], { stdio: 'pipe' })
    return readFileSync(path)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function findCompiler(): string | undefined {
  return ['cc', 'gcc', 'clang'].find(answers)
}

function answers(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
