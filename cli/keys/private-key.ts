import type { Hex } from 'viem'
import { privateKeyToAddress } from 'viem/accounts'
import { ProtocolError } from '../../protocol/errors.ts'

/**
 * Reads a private key; what is wrong with it is said without repeating it.
 *
 * @param source - Where it came from, as the beginning of a sentence.
 * @throws ProtocolError `key_missing`
 */
export function parsePrivateKey(text: string, source: string): Hex {
  const digits = text.trim().replace(/^0x/, '')
  const key: Hex = `0x${digits.toLowerCase()}`
  if (!/^[0-9a-fA-F]{64}$/.test(digits) || !isOnCurve(key)) {
    throw new ProtocolError('key_missing', `${source} does not hold a private key.`, {
      hint: 'Expected 64 hexadecimal digits, with or without 0x.',
    })
  }
  return key
}

/** Zero and what exceeds the order of secp256k1 are no keys. */
function isOnCurve(key: Hex): boolean {
  try {
    privateKeyToAddress(key)
    return true
  } catch {
    return false
  }
}
