import { limits } from '../../protocol/limits.ts'
import { verifySwarm } from '../../protocol/swarm/verify-swarm.ts'
import { type CommandContext, defineCommand, usageError } from '../command.ts'
import { readFileBounded } from '../files.ts'
import { openMarket } from '../market/open.ts'
import { marketOptions } from '../market/options.ts'
import { resolvePath } from '../project/packed-program.ts'
import { assertChecked, formatChecks, readEvidence } from '../swarm/checks.ts'
import { readSwarmFile } from '../swarm/proof-file.ts'

export const verifySwarmCommand = defineCommand({
  usage: 'verify-swarm <file>',
  details:
    'Checks who voted for what, whether the members were drawn as they had to be, what each of them was paid, and that the answer\n' +
    'is the one that most voted for. The file is what "swarm call -o" wrote, or the head of an answer as "curl -D" writes it.\n' +
    'Nobody is asked but with --on-chain. One line for each check: "ok", "WRONG", "-" where there was nothing to compare with, and\n' +
    '"LIAR" for a member that signed another answer. It fails if any is wrong.',
  options: {
    body: { type: 'string', value: '<file>', help: "The answer's body, where the file is a head" },
    'on-chain': { type: 'boolean', help: 'Compare members and block with the chain' },
    ...marketOptions,
  },
  examples: [
    'verify-swarm out.json',
    'verify-swarm head.txt --body answer',
    'verify-swarm out.json --on-chain',
  ],
  async run({ positionals: [path = ''], values }, context) {
    const body = values.body === undefined ? undefined : await readFile(values.body, context)
    const proof = readSwarmFile(await readFile(path, context), body)
    const evidence = values['on-chain']
      ? await readEvidence(proof, await openMarket(values, context), context)
      : {}
    const checks = await verifySwarm(proof, evidence)
    const isRight = checks.every(({ verdict }) => verdict !== 'wrong')
    if (isRight) context.print(formatChecks(checks), { verdict: proof.verdict, checks })
    else if (!values['json']) context.note(formatChecks(checks))
    assertChecked(checks)
  },
})

const bytesMax = 2 * limits.ballotAnswerBytesMax + 8 * limits.headerBytesMax

async function readFile(path: string, { cwd }: CommandContext): Promise<Uint8Array> {
  const bytes = await readFileBounded(resolvePath(cwd, path), bytesMax)
  if (bytes) return bytes
  throw usageError(`There is no file ${path}.`, 'Write one with "khachapuri swarm call -o out.json".')
}
