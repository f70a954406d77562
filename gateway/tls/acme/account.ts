import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import acme from 'acme-client'
import { z } from 'zod'
import { writeFileWhole } from '../write-file-whole.ts'
import type { AcmeOptions } from './acme-options.ts'

const accountSchema = z.strictObject({
  /** What the authority calls it. */
  url: z.url(),
  /** PEM. */
  key: z.string(),
})

/** An account at an authority. */
export type AcmeAccount = z.output<typeof accountSchema>

/**
 * The account at this authority: the one that was kept, else a new one. Each authority has a file of its own, with mode 0600.
 * Its URL is kept, too: asking for it anew counts as a change of the account, which some authorities refuse where it is none.
 */
export async function openAccount(
  { directoryUrl, email }: Pick<AcmeOptions, 'directoryUrl' | 'email'>,
  dir: string,
): Promise<AcmeAccount> {
  const path = join(dir, `account-${new URL(directoryUrl).host.replaceAll(/[^a-z0-9.-]/g, '_')}.json`)
  const kept = await readKept(path)
  if (kept) return kept
  const key = (await acme.crypto.createPrivateEcdsaKey()).toString()
  const client = new acme.Client({ directoryUrl, accountKey: key })
  await client.createAccount({
    termsOfServiceAgreed: true,
    ...(email !== undefined && { contact: [`mailto:${email}`] }),
  })
  const account = { url: client.getAccountUrl(), key }
  await writeFileWhole(path, JSON.stringify(account), { mode: 0o600 })
  return account
}

async function readKept(path: string): Promise<AcmeAccount | undefined> {
  try {
    return accountSchema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
