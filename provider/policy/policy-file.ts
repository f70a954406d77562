import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { describeIssues } from '../../protocol/schema.ts'
import { writeDurably } from '../durable-file.ts'
import { emptyPolicy, type Policy, policySchema } from './policy.ts'

const fileName = 'policy.json'

/** @returns a policy without a rule where there is no file. @throws ProtocolError `config_invalid` */
export async function readPolicy(dir: string): Promise<Policy> {
  const path = join(dir, fileName)
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return undefined
  })
  if (!bytes) return emptyPolicy
  const parsed = policySchema.safeParse(parseJson(bytes))
  if (parsed.success) return parsed.data
  // A provider without its rules would run what its operator has denied.
  throw new ProtocolError(
    'config_invalid',
    `${path} does not hold a policy: ${describeIssues(parsed.error)}`,
    {
      hint: 'Mend it, or move it away and say the rules again with "khachapuri provider policy".',
    },
  )
}

export async function writePolicy(dir: string, policy: Policy): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await writeDurably(join(dir, fileName), `${JSON.stringify(policy, undefined, 2)}\n`)
}
