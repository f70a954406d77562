import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { Completable } from './format-completion.ts'
import { formatCompletion } from './format-completion.ts'

const commands: readonly Completable[] = [
  {
    name: 'init',
    summary: "A program's start",
    options: { template: { type: 'string', value: 'ts|js', help: 'Which' } },
  },
  { name: 'key new', summary: 'Make a key', options: {} },
  {
    name: 'key list',
    summary: 'List keys',
    options: { egress: { type: 'string', value: 'none|<origin>', help: 'x' } },
  },
]

/** What bash would offer for the last word of a line. */
async function complete(line: string): Promise<readonly string[]> {
  const words = line.split(' ')
  const script = `${formatCompletion('bash', commands)}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _khachapuri; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout } = await promisify(execFile)('bash', ['--norc', '-c', script, 'bash', ...words])
  return stdout.split('\n').filter((word) => word !== '')
}

test.each([
  ['khachapuri ', ['init', 'key']],
  ['khachapuri k', ['key']],
  ['khachapuri key ', ['new', 'list']],
  ['khachapuri key l', ['list']],
  ['khachapuri init --t', ['--template']],
  ['khachapuri init --template ', ['ts', 'js']],
  ['khachapuri key list --', ['--egress', '--json', '--help']],
  ['khachapuri key list --egress ', []],
  ['khachapuri init ', []],
  ['khachapuri unknown --', []],
])('bash offers after %j what fits', async (line, words) => {
  expect(await complete(line)).toEqual(words)
})

test('zsh reads what bash does, and fish has a line for each command and flag', () => {
  expect(formatCompletion('zsh', commands)).toContain(formatCompletion('bash', commands))
  expect(formatCompletion('fish', commands).split('\n')).toContain(
    "complete -c khachapuri -n '__fish_seen_subcommand_from init' -l template -x -a 'ts js' -d 'Which'",
  )
})
