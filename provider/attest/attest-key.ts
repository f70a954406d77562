import { randomBytes } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ProtocolError } from '../../protocol/errors.ts'
import { writeDurably } from '../durable-file.ts'

/** Of BLS12-381's groups, and so of its keys; a constant here, because the library takes longer to load than all of a start. */
export const groupOrder = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001n

/**
 * Makes the key with which a provider attests, where there is none yet (32 bytes in hexadecimal, readable by this user only), and looks
 * whether it is one. It is in memory only where it signs.
 *
 * @throws ProtocolError `config_invalid` for a file that holds something else
 */
export async function prepareAttestKey(path: string): Promise<void> {
  try {
    await readAttestKey(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await writeDurably(path, `${drawKey()}\n`)
  }
}

/** @throws ProtocolError `config_invalid`; as `readFile` */
export async function readAttestKey(path: string): Promise<Uint8Array> {
  const text = await readFile(path, 'utf8')
  if (/^[0-9a-f]{64}\n?$/.test(text) && isKey(text.trim())) return Buffer.from(text.trim(), 'hex')
  throw new ProtocolError('config_invalid', `${path} holds no key.`, {
    hint: 'Put it back from a backup. Without one, move it away: a new key is made, and what the old one attested stays valid.',
  })
}

/** Evenly: what is too large, more than every other one, is drawn again. */
function drawKey(): string {
  for (;;) {
    const text = randomBytes(32).toString('hex')
    if (isKey(text)) return text
  }
}

function isKey(hex: string): boolean {
  const value = BigInt(`0x${hex}`)
  return value > 0n && value < groupOrder
}
