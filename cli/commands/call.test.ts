import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openOrigin } from '../../test/support/http-origin.ts'
import { createUserInMarket, type UserInMarket } from '../market/testing-user.ts'

let at: UserInMarket
let url: string
beforeAll(async () => {
  at = await createUserInMarket()
  await mkdir(join(at.user.dir, 'teller'))
  const source = `export default { async fetch(request) {
    const { pathname } = new URL(request.url)
    const status = Number(pathname.slice(1)) || 200
    return new Response(request.method + ' ' + request.headers.get('x-word') + ' ' + await request.text(), { status })
  } }`
  await writeFile(join(at.user.dir, 'teller', 'index.js'), source)
  await writeFile(
    join(at.user.dir, 'teller', 'khachapuri.json'),
    JSON.stringify({ name: 'teller', entry: 'index.js' }),
  )
  const deployed = await run('deploy teller --provider alice --payer caller --json')
  url = deployed.json<{ urls: Record<string, string> }>().urls['alice'] as string
  await approve('approve alice --account payer --signer payer --price 0.001 --budget 1 --yes')
})
afterAll(() => at[Symbol.asyncDispose]())

const run = (line: string, options?: Parameters<UserInMarket['user']['run']>[1]) =>
  at.user.run(line.split(' '), options)
/** Waits until the provider has seen it on chain. */
async function approve(line: string): Promise<void> {
  expect((await run(line)).exitCode).toBe(0)
  const { client, providers } = at.market
  const blockNumber = await client.getBlockNumber({ cacheTime: 0 })
  // A settlement with nothing to settle still looks at the chain first.
  while (providers.alice.chainStatus().blockNumber < blockNumber) {
    await providers.alice.settler.settleNow(new AbortController().signal)
  }
}
const call = (flags: string, options?: Parameters<typeof run>[1]) => run(`call ${url}${flags}`, options)
const byVoucher = '--account payer --voucher'
const home = () => join(at.user.dir, '.home')

test('curl’s flags mean what they mean there, and a voucher pays', async () => {
  await writeFile(join(at.user.dir, 'words.txt'), 'from a file')
  const answer = await call(` -X PUT -H X-Word:\thi -d @words.txt ${byVoucher}`)
  expect(answer).toMatchObject({ exitCode: 0, stdout: 'PUT hi from a file' })
  const toFile = await call(` -d data -o out.txt ${byVoucher} --json`)
  expect(toFile.json()).toMatchObject({
    status: 200,
    price: '500',
    spent: '1000',
    calls: '2',
    output: 'out.txt',
  })
  expect(await readFile(join(at.user.dir, 'out.txt'), 'utf8')).toBe('POST null data')
  expect((await call(` -i ${byVoucher}`)).stdout).toMatch(/^HTTP\/1.1 200 OK\r\n(.+\r\n)+\r\nGET null $/)
})

test('an answer of the program is an answer; a refusal of the network ends with 1', async () => {
  expect(await call(`418 ${byVoucher}`)).toMatchObject({ exitCode: 0, stdout: 'GET null ' })
  const unpaid = await call('')
  expect([unpaid.exitCode, unpaid.stdout]).toEqual([1, ''])
  expect(unpaid.stderr).toContain('(payment_required)')
  expect((await call(` ${byVoucher} --max 0.0004`)).stderr).toContain('(price_above_cap)')
  expect((await call(' --voucher')).stderr).toMatch(/approve alice --signer 0x/)
  expect((await call(' -H nonsense')).exitCode).toBe(2)
  expect((await call(' --voucher --pass kp1.x')).exitCode).toBe(2)
})

test('nobody there, and a file that cannot be written, are told as what they are, before anything is paid', async () => {
  const spent = async () => Number((await call(` ${byVoucher} --json`)).json()['spent'])
  const before = await spent()
  for (const flags of ['', ' --voucher --account payer --provider alice'])
    expect((await run(`call http://127.0.0.1:1/${flags} --json`)).json()).toMatchObject({
      code: 'provider_unreachable',
      hint: expect.stringContaining('Check the address'),
    })
  for (const place of ['nothing/here.txt', 'teller', 'words.txt/below']) {
    const refused = await call(` -o ${place} ${byVoucher} --json`)
    expect([refused.exitCode, refused.json()]).toMatchObject([1, { code: 'config_invalid' }])
  }
  expect(await spent()).toBe(before + 500)
  expect((await run('call ftp://127.0.0.1/')).stderr).not.toContain('--url')
})

test('an answer that breaks off, and one that never comes, are no bugs of ours', async () => {
  await using broken = await openOrigin((_, response) => {
    response.writeHead(200, { 'content-length': 10 })
    response.write('half', () => response.destroy())
  })
  const interrupt = new AbortController()
  await using silent = await openOrigin(() => interrupt.abort(new DOMException('Interrupted.', 'AbortError')))
  for (const flags of ['', ' --json', ' -o half.txt'])
    expect(await run(`call ${broken.url}/${flags}`)).toMatchObject({ exitCode: 1 })
  expect(await run(`verify ${broken.url}/`)).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('provider_unreachable'),
  })
  expect((await run(`call ${silent.url}/`, { signal: interrupt.signal })).exitCode).toBe(130)
})

test('a pass pays, too, from a variable that other users of the machine do not see', async () => {
  const flags = '--account payer --provider alice --max-price 0.001 --max-spend 0.1'
  const pass = (await run(`pass create ${flags}`)).stdout.trim()
  expect(await call('', { env: { KHACHAPURI_PASS: pass } })).toMatchObject({
    exitCode: 0,
    stdout: 'GET null ',
  })
})

test('calls at the same time share what was signed; without the file it goes on from the provider’s', async () => {
  const spent = async (flags = '') => Number((await call(` ${byVoucher} --json${flags}`)).json()['spent'])
  const before = await spent()
  const many = await Promise.all(Array.from({ length: 8 }, () => spent(' --window 4')))
  expect(Math.max(...many)).toBe(before + 8 * 500)
  expect(await readdir(home())).not.toContain('vouchers.json.lock')
  const remembered = await readFile(join(home(), 'vouchers.json'), 'utf8')
  expect(JSON.parse(remembered)).toMatchObject({
    [Object.keys(JSON.parse(remembered))[0] as string]: { open: [] },
  })

  await rm(join(home(), 'vouchers.json'))
  expect(await spent()).toBe(before + 9 * 500)

  // What a command that was killed left behind is in nobody's way.
  await writeFile(join(home(), 'vouchers.json.lock'), `${2 ** 22 + 1}`)
  expect(await spent()).toBe(before + 10 * 500)
})

test('of a set of vouchers none is signed where one could not pay', async () => {
  const before = await readFile(join(home(), 'vouchers.json'), 'utf8')
  const create = 'voucher create --account payer --provider alice --provider bob --calls 2 --json'
  expect((await run(create)).json()).toMatchObject({ code: 'grant_missing' })
  expect(await readFile(join(home(), 'vouchers.json'), 'utf8')).toBe(before)
  expect((await run(create.replace('--provider bob', '--max 0.0004'))).json()).toMatchObject({
    code: 'price_above_cap',
  })
  const set = (await run(create.replace('--provider bob ', ''))).json<{ token: string }>().token
  for (let calls = 0; calls < 2; calls += 1)
    expect(await call('', { env: { KHACHAPURI_VOUCHERS: set } })).toMatchObject({ stdout: 'GET null ' })
  expect((await call(' --json', { env: { KHACHAPURI_VOUCHERS: set } })).json()).toMatchObject({
    code: 'voucher_too_low',
  })
  // The account's own calls go on behind it.
  expect((await call(` ${byVoucher}`)).exitCode).toBe(0)
})

test('a session key spends its own grant, and its payer can see and end it', async () => {
  const key = generatePrivateKey()
  const { address } = privateKeyToAccount(key)
  await approve(`approve alice --account payer --signer ${address} --price 0.001 --budget 0.002 --yes`)
  const env = { KHACHAPURI_PRIVATE_KEY: key }
  const answer = await call(' --voucher --payer payer --json', { env })
  expect(answer.json()).toMatchObject({ status: 200, spent: '500', calls: '1' })
  const shown = await run(`allowance alice --account payer --signer ${address} --json`)
  expect(shown.json()).toMatchObject({ grant: { signer: address, budgetUsdc: '2000' } })
  expect((await run(`revoke alice --account payer --signer ${address} --yes`)).exitCode).toBe(0)
})
