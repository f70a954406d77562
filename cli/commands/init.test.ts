import { execFileSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readZip } from '../../protocol/ipfs/unpack-zip.ts'
import { createTestUser } from '../testing.ts'

test.each(['ts', 'js'])('a new %s program builds and answers', async (template) => {
  await using user = await createTestUser()
  const made = (await user.run(['init', 'My App', '--template', template, '--json'])).json()
  expect(made).toEqual({
    name: 'my-app',
    dir: join(user.dir, 'My App'),
    files: ['khachapuri.json', `src/index.${template}`, '.gitignore', 'README.md'],
  })
  const { path } = (await user.run(['build', 'My App', '--json'])).json<{ path: string }>()
  const entries = await readZip(await readFile(path), AbortSignal.timeout(60_000))
  const code = entries.find((entry) => entry.path === 'src/index.js')!.bytes
  const program = await import(`data:text/javascript;base64,${Buffer.from(code).toString('base64')}`)
  const ask = (target: string, init?: RequestInit) =>
    program.default.fetch(new Request(`http://localhost${target}`, init), { GREETING: 'Good morning' })
  expect(await (await ask('/hello?name=Ada')).json()).toEqual({ greeting: 'Good morning, Ada!' })
  expect(await (await ask('/echo', { method: 'POST', body: 'same' })).text()).toBe('same')
  expect((await ask('/nothing')).status).toBe(404)
})

test('the TypeScript of a new program is strict', async () => {
  await using user = await createTestUser()
  await user.run(['init', 'app'])
  const tsc = join(import.meta.dirname, '..', '..', 'node_modules', '.bin', 'tsc')
  const args = [
    '--noEmit',
    '--strict',
    '--lib',
    'esnext,webworker',
    '--target',
    'esnext',
    '--module',
    'esnext',
  ]
  execFileSync(tsc, [...args, 'src/index.ts'], { cwd: join(user.dir, 'app') })
})

test('nothing is overwritten, and nothing is written beside it', async () => {
  await using user = await createTestUser()
  await writeFile(join(user.dir, 'README.md'), 'mine')
  const result = await user.run(['init', '--json'])
  expect(result.exitCode).toBe(1)
  expect(result.json()).toMatchObject({ code: 'config_invalid' })
  expect(await readFile(join(user.dir, 'README.md'), 'utf8')).toBe('mine')
  await expect(readFile(join(user.dir, 'khachapuri.json'))).rejects.toThrow('ENOENT')
})

test('an unknown template is wrong usage', async () => {
  await using user = await createTestUser()
  const result = await user.run(['init', '--template', 'rust', '--json'])
  expect(result.exitCode).toBe(2)
  expect(result.json()).toMatchObject({ code: 'usage_invalid' })
})
