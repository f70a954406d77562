import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runDnsHook } from './run-dns-hook.ts'

const record = { name: '_acme-challenge.market.example', value: 'a b$(id)`id`;"' }
const shell = (script: string) => ['/bin/sh', '-c', script, 'hook']

test('the command gets what to do, name and value as they are: no shell reads them', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'hook-'))
  const file = join(dir, 'said')
  await runDnsHook([...shell(`printf '%s|' "$@" >> ${file}`), '--zone', 'example'], 'add', record)
  expect(await readFile(file, 'utf8')).toBe(`--zone|example|add|${record.name}|${record.value}|`)
  await rm(dir, { recursive: true })
})

test('a command that fails is told with its words, of which no more than a few are kept', async () => {
  const failing = runDnsHook(shell('echo "no such zone" >&2; exit 3'), 'add', record)
  await expect(failing).rejects.toMatchObject({
    code: 'certificate_unavailable',
    message: 'The DNS hook ended with 3. It said: no such zone',
  })
  const loud = runDnsHook(shell('head -c 3000000 /dev/zero | tr "\\0" x >&2; exit 1'), 'add', record)
  const error: Error = await loud.catch((thrown) => thrown)
  expect(error.message.length).toBeLessThan(1_200)
})

test('a command that is not there is a mistake in the configuration', async () => {
  const missing = runDnsHook(['/nowhere/hook'], 'add', record)
  await expect(missing).rejects.toMatchObject({ code: 'config_invalid' })
})

test('a command that takes too long ends, with all that it has started', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'hook-'))
  const file = join(dir, 'pid')
  const slow = runDnsHook(shell(`sleep 60 & echo $! > ${file}; wait`), 'add', record, 300)
  await expect(slow).rejects.toMatchObject({ message: 'The DNS hook took more than 300 ms.' })
  const pid = Number(await readFile(file, 'utf8'))
  const isRunning = async () => {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    return stat !== '' && !/^\d+ \(sleep\) Z/.test(stat)
  }
  while (await isRunning()) await new Promise((resolve) => setImmediate(resolve))
  await rm(dir, { recursive: true })
})
