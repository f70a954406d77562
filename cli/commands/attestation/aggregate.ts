import { aggregateAttestations, invalidAttestation, verifyAggregate } from '../../../protocol/attestation.ts'
import { parseAttestationFile } from '../../../protocol/attestation-file.ts'
import { limits } from '../../../protocol/limits.ts'
import { defineCommand, usageError } from '../../command.ts'
import { readFileBounded } from '../../files.ts'
import { resolvePath } from '../../project/packed-program.ts'

export const attestationAggregate = defineCommand({
  usage: 'attestation aggregate <file>…',
  details:
    'Adds attestations of the same message by several providers up to one signature, which holds with all of their keys and with no\n' +
    'fewer. The files are what "verify-attestation --json" wrote: each is checked again before. Prints the sum as JSON, for\n' +
    '"verify-attestation". Nobody is asked.',
  options: {},
  examples: ['attestation aggregate alice-said.json bob-said.json carol-said.json > sum.json'],
  async run({ positionals }, { cwd, print }) {
    const files = await Promise.all(
      positionals.map(async (path) => {
        const bytes = await readFileBounded(resolvePath(cwd, path), limits.attestationFileBytesMax)
        if (!bytes)
          throw usageError(
            `There is no file ${path}.`,
            'Write one with "khachapuri verify-attestation --json".',
          )
        return { path, ...parseAttestationFile(bytes) }
      }),
    )
    for (const { path, attestation, keys } of files) {
      if (keys.length === 0)
        throw usageError(
          `${path} names no keys.`,
          `Have them added with "khachapuri verify-attestation ${path} --did did.json --json".`,
        )
      if (!verifyAggregate(attestation, keys))
        throw invalidAttestation(`${path} is not signed by the keys that it names.`)
    }
    const keys = files.flatMap((file) => file.keys)
    if (new Set(keys.map(({ publicKey }) => publicKey)).size < keys.length)
      throw invalidAttestation('One key is in more than one of the files.')
    const sum = { ...aggregateAttestations(files.map(({ attestation }) => attestation)), keys }
    print(JSON.stringify(sum, undefined, 2), sum)
  },
})
