import { chown, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findLeftovers } from './leftovers.ts'

test('only what dead processes left is a leftover', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'leftovers-'))
  const beyondAnyPid = 2 ** 30
  const names = [
    `khp-${process.pid}-a`,
    `khp-${beyondAnyPid}-b`,
    `other-${beyondAnyPid}-c`,
    'khp-x-d',
    'khp-',
  ]
  for (const name of names) await mkdir(join(folder, name))
  expect(await findLeftovers(folder, 'khp-')).toEqual([`khp-${beyondAnyPid}-b`])
  await rm(folder, { recursive: true })
  expect(await findLeftovers(folder, 'khp-')).toEqual([])
})

test('a link is none, and neither is a folder of somebody else: taking those away would be done for them', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'leftovers-'))
  const beyondAnyPid = 2 ** 30
  await symlink('/', join(folder, `khp-${beyondAnyPid}-link`))
  if (process.getuid?.() === 0) {
    await mkdir(join(folder, `khp-${beyondAnyPid}-theirs`))
    await chown(join(folder, `khp-${beyondAnyPid}-theirs`), 65_534, 65_534)
  }
  expect(await findLeftovers(folder, 'khp-')).toEqual([])
  await rm(folder, { recursive: true })
})
