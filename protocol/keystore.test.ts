import fc from 'fast-check'
import type { Hex } from 'viem'
import { privateKeyToAddress } from 'viem/accounts'
import { expect, test } from 'vitest'
import { utf8 } from './base/bytes.ts'
import { addressOfKeystore, decryptKeystore, encryptKeystore, parseKeystore } from './keystore.ts'

// The two vectors of the Web3 Secret Storage definition.
const password = 'testpassword'
const secret = '0x7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d'
const vectors = {
  pbkdf2: {
    cipher: 'aes-128-ctr',
    cipherparams: { iv: '6087dab2f9fdbbfaddc31a909735c1e6' },
    ciphertext: '5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46',
    kdf: 'pbkdf2',
    kdfparams: {
      c: 262144,
      dklen: 32,
      prf: 'hmac-sha256',
      salt: 'ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd',
    },
    mac: '517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2',
  },
  scrypt: {
    cipher: 'aes-128-ctr',
    cipherparams: { iv: '83dbcc02d8ccb40e466191a123791e0e' },
    ciphertext: 'd172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c',
    kdf: 'scrypt',
    kdfparams: {
      dklen: 32,
      n: 262144,
      p: 8,
      r: 1,
      salt: 'ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19',
    },
    mac: '2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097',
  },
}
/** From geth's own tests (accounts/keystore/testdata/very-light-scrypt.json); its password is empty. */
const gethFile = {
  address: '45dea0fb0bba44f4fcf290bba71fd57d7117cbb8',
  crypto: {
    cipher: 'aes-128-ctr',
    ciphertext: 'b87781948a1befd247bff51ef4063f716cf6c2d3481163e9a8f42e1f9bb74145',
    cipherparams: { iv: 'dc4926b48a105133d2f16b96833abf1e' },
    kdf: 'scrypt',
    kdfparams: {
      dklen: 32,
      n: 2,
      p: 1,
      r: 8,
      salt: '004244bbdc51cadda545b1cfa43cff9ed2ae88e08c61f1479dbb45410722f8f0',
    },
    mac: '39990c1684557447940d4c69e06b1b82b2aceacb43f284df65c956daf3046b85',
  },
  id: 'ce541d8d-c79b-40f8-9f8c-20f59616faba',
  version: 3,
}
const fileOf = (crypto: object, version = 3) => utf8.encode(JSON.stringify({ crypto, version, id: 'any' }))
const cheap = { scryptCost: 2 }

test('the published vector decrypts', async () => {
  expect(await decryptKeystore(parseKeystore(fileOf(vectors.pbkdf2)), password)).toBe(secret)
})

test("a file of geth's decrypts to the account that it names", async () => {
  const keystore = parseKeystore(utf8.encode(JSON.stringify(gethFile)))
  const key = await decryptKeystore(keystore, '')
  expect(privateKeyToAddress(key)).toBe(addressOfKeystore(keystore))
})

test('a wrong password is told from a broken file', async () => {
  const keystore = parseKeystore(fileOf(vectors.pbkdf2))
  await expect(decryptKeystore(keystore, 'testpasswort')).rejects.toMatchObject({ code: 'keystore_locked' })
})

test('old spellings with capitals are read', () => {
  const { kdfparams, ...rest } = vectors.pbkdf2
  const bytes = utf8.encode(JSON.stringify({ Crypto: { ...rest, KDFParams: kdfparams }, Version: 3 }))
  expect(parseKeystore(bytes).crypto.kdf).toBe('pbkdf2')
})

test('any key and any password make the way there and back, and the file tells the address only', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc
        .uint8Array({ minLength: 32, maxLength: 32 })
        .filter((key) => key[0] !== 0xff && key.some((byte) => byte > 0)),
      fc.string({ unit: 'grapheme' }),
      async (bytes, anyPassword) => {
        const key: Hex = `0x${Buffer.from(bytes).toString('hex')}`
        const text = await encryptKeystore(key, anyPassword, cheap)
        expect(text).not.toContain(key.slice(2))
        const keystore = parseKeystore(utf8.encode(text))
        expect(addressOfKeystore(keystore)).toBe(privateKeyToAddress(key))
        expect(await decryptKeystore(keystore, anyPassword)).toBe(key)
      },
    ),
    { numRuns: 20 },
  )
})

test.each([
  ['version 1', fileOf(vectors.scrypt, 1)],
  ['another cipher', fileOf({ ...vectors.scrypt, cipher: 'aes-256-gcm' })],
  ['memory for ever', fileOf({ ...vectors.scrypt, kdfparams: { ...vectors.scrypt.kdfparams, n: 2 ** 30 } })],
  ['nothing', new Uint8Array()],
  ['no JSON', utf8.encode('{"version":3')],
  ['too much', new Uint8Array(70_000).fill(32)],
])('a file with %s is refused before any work', (_what, bytes) => {
  expect(() => parseKeystore(bytes)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
})

test('scrypt parameters that cannot be are a refusal, not a crash', async () => {
  const odd = fileOf({ ...vectors.scrypt, kdfparams: { ...vectors.scrypt.kdfparams, n: 1000 } })
  await expect(decryptKeystore(parseKeystore(odd), password)).rejects.toMatchObject({
    code: 'config_invalid',
  })
})
