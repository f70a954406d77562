import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { requestHttp } from './http.ts'
import { createUserInMarket, type UserInMarket } from './market/testing-user.ts'
import { startServing } from './testing.ts'

let at: UserInMarket
beforeAll(async () => {
  at = await createUserInMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

/** The lines of the first block of code under a heading of the project's README, without their comments. */
async function readBlock(heading: string): Promise<readonly string[]> {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const section = readme.slice(readme.indexOf(`## ${heading}`))
  const [, block = ''] = /```sh\n([\s\S]*?)```/.exec(section) ?? []
  return block
    .trim()
    .split('\n')
    .map((line) => line.replace(/\s+# .*$/, ''))
}

/** The words of a line as a shell reads them, as far as the README needs it. */
const wordsOf = (line: string) =>
  [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '')

test('the five minutes of the README go as they are written', async () => {
  const lines = await readBlock('Five minutes')
  let cid = ''
  const done: string[] = []
  for (const line of lines) {
    const words = wordsOf(line.replaceAll('$CID', cid).replaceAll('localhost:8080', at.market.gateway.domain))
    const [, , command = words[0]] = words
    done.push(command as string)
    const argv = words.slice(2)
    if (line.startsWith('CID=$(')) {
      const [, inner = ''] = /\$\(npx khachapuri (.*?) \|/.exec(line) ?? []
      const listed = await at.user.run(inner.split(' '))
      cid = listed.json<{ versions: { cid: string }[] }>().versions[0]?.cid ?? ''
      expect(cid).toMatch(/^bafk/)
    } else if (words[0] === 'curl') {
      const { body } = await requestHttp(
        { url: new URL(words[1] as string), bytesMax: 1024 },
        AbortSignal.timeout(60_000),
      )
      expect(JSON.parse(Buffer.from(body).toString())).toEqual({ greeting: 'Gamarjoba, Ada!' })
    } else if (command === 'dev') {
      const running = await startServing(at.user, [...argv, '--port', '0'])
      const [, url = ''] = /http_url=(\S+)/.exec(running.first) ?? []
      expect((await fetch(`${url}hello`)).status).toBe(200)
      expect((await running.stop()).exitCode).toBe(0)
    } else if (argv.includes('-f')) {
      const following = await startServing(at.user, argv)
      expect(following.first).toContain('The program is started.')
      await following.stop()
    } else {
      const typed = command === 'secret' ? ['Gamarjoba'] : ['y']
      const { exitCode, stderr } = await at.user.run(argv, { typed })
      expect(exitCode, `${line}\n${stderr}`).toBe(0)
      if (command === 'rollback') {
        const { versions } = (await at.user.run(['versions', 'hello', '--json'])).json<{
          versions: { cid: string }[]
        }>()
        await fetch(new URL(`/${versions[0]?.cid}/hello`, at.market.providers.alice.url))
      }
    }
  }
  const expected = 'init dev secret deploy deploy versions curl bench diff rollback logs'
  expect(done.join(' ')).toBe(expected)
})
