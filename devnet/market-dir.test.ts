import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openMarketDir } from './market-dir.ts'

async function createFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'khachapuri-market-dir-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

test('a market has an empty directory, which goes with it', async () => {
  const folder = await createFolder()
  {
    await using dir = await openMarketDir(folder)
    await writeFile(join(dir.path, 'something'), '')
    expect(await readdir(folder)).toEqual([`market-${process.pid}`])
  }
  expect(await readdir(folder)).toEqual([])
})

test('what a killed market left is removed; what a running one or somebody else has is not', async () => {
  const folder = await createFolder()
  const { pid: gone } = spawnSync(process.execPath, ['--version'])
  for (const name of [`market-${gone}`, `market-${process.ppid}`, 'market-7x', 'keystore']) {
    await mkdir(join(folder, name, 'blocks'), { recursive: true })
  }
  await using dir = await openMarketDir(folder)
  expect((await readdir(folder)).sort()).toEqual(
    ['keystore', `market-${process.pid}`, `market-${process.ppid}`, 'market-7x'].sort(),
  )
  expect(await readdir(dir.path)).toEqual([])
})
