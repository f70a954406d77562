import { getAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { utf8 } from './base/bytes.ts'
import { readPing, signPing } from './ping.ts'
import { createPresenceVoice } from './presence-key.ts'

const nowMs = 1_700_000_000_123
const market = { chainId: 31_337, escrow: getAddress(`0x${'22'.repeat(20)}`) }
const setup = () => {
  const account = privateKeyToAccount(generatePrivateKey())
  return { account, voice: createPresenceVoice({ nowMs: () => nowMs }, { account, market }) }
}
const bytesOf = (said: object) => utf8.encode(JSON.stringify(said))

test('a ping counts for its question, its account and its market, as it was signed', async () => {
  const { account, voice } = setup()
  const ask = { provider: account.address, nonce: 'n-1', market }
  const said = (await signPing(voice, { nowMs, version: '1.2.0', nonce: 'n-1' })) as Record<string, unknown>
  expect(await readPing(bytesOf(said), ask)).toMatchObject({
    ...{ alive: true, time: '2023-11-14T22:13:20.123Z', version: '1.2.0', provider: account.address },
  })
  const other = setup()
  const theirs = (await signPing(other.voice, { nowMs, version: '1', nonce: 'n-1' })) as typeof said
  const wrong = [
    [said, { ...ask, nonce: 'n-2' }],
    [said, { ...ask, provider: other.account.address }],
    [said, { ...ask, market: { ...market, chainId: 1 } }],
    [theirs, ask],
    [{ ...theirs, provider: account.address }, ask],
    [{ ...said, key: theirs['key'] }, ask],
    [{ ...said, signature: theirs['signature'] }, ask],
    [{ ...said, time: '2023-11-14T22:13:20.124Z' }, ask],
    [{ ...said, version: '9' }, ask],
    [{ ...said, kind: 'announcement' }, ask],
    [{ ...said, more: 1 }, ask],
    [{}, ask],
  ] as const
  for (const [json, question] of wrong)
    await expect(readPing(bytesOf(json), question)).rejects.toMatchObject({ code: 'ping_invalid' })
})
