import type { LocalAccount } from 'viem'
import { deriveOwnKey } from '../keys/own-key.ts'

/**
 * What an account encrypts a program with: the same key whenever it deploys the same bytes, so that `rollback` and `diff` can
 * open them later, and another one for any other bytes, so that a provider can open no version but those it was given.
 */
export function programKeyOf(account: LocalAccount, program: string): Promise<Uint8Array> {
  return deriveOwnKey(account, `program ${program}`)
}
