import { getAddress, isAddress } from 'viem'
import { toHex } from '../../../protocol/base/bytes.ts'
import { digestOfCid, parseContentCid } from '../../../protocol/ipfs/cid.ts'
import { limits } from '../../../protocol/limits.ts'
import { selectionSeed, selectMembers } from '../../../protocol/swarm/select-members.ts'
import { defineCommand, usageError } from '../../command.ts'
import { parseCount } from '../../duration.ts'

export const swarmVerifySelection = defineCommand({
  usage: 'swarm verify-selection <cid>',
  details:
    'Draws the members of a swarm as everybody does: those of the candidates with the lowest keccak256(seed, address), where\n' +
    'the seed is keccak256(block hash, SHA-256 in the CID). Nobody is asked. With --member it fails where they are not those.',
  options: {
    block: {
      type: 'string',
      isRequired: true,
      value: '<hash>',
      help: 'Of the block that they were drawn with',
    },
    candidate: {
      type: 'string',
      multiple: true,
      isRequired: true,
      value: '<address>',
      help: 'One of the providers that the deployment names',
    },
    n: { type: 'string', isRequired: true, value: '<n>', help: 'How many are drawn' },
    member: { type: 'string', multiple: true, value: '<address>', help: 'One that is said to be drawn' },
  },
  examples: ['swarm verify-selection <cid> --block 0x… --candidate 0x… --candidate 0x… --n 1'],
  async run({ positionals: [cid = ''], values }, { print }) {
    const { block, candidate, member = [] } = values
    if (!/^0x[0-9a-f]{64}$/.test(block))
      throw usageError(`"${block.slice(0, 70)}" is no hash of a block.`, 'Give its 32 bytes as 0x….')
    const candidates = candidate.map(parseAccount)
    const count = parseCount('n', values.n, { min: 1, max: limits.swarmMembersMax })
    const deployment = toHex(digestOfCid(parseContentCid(cid)))
    const drawn = selectMembers(selectionSeed(block as `0x${string}`, deployment), candidates, count)
    const said = member.map(parseAccount)
    const strangers = said.filter((address) => !drawn.includes(address))
    if (said.length > 0 && (strangers.length > 0 || said.length !== drawn.length))
      throw usageError(`The members are ${drawn.join(', ')}.`, 'Whoever said otherwise is wrong, or lies.')
    print(drawn.join('\n'), { members: drawn })
  },
})

function parseAccount(text: string) {
  if (isAddress(text, { strict: false })) return getAddress(text)
  throw usageError(`"${text.slice(0, 60)}" is no address.`, 'Write it as 0x and 40 digits.')
}
