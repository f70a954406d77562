import { registryCalls } from '../../../protocol/chain/calls.ts'
import { readBond, readFreeFrom } from '../../../protocol/chain/registry.ts'
import { formatUsdc } from '../../../protocol/usdc.ts'
import { defineCommand } from '../../command.ts'
import { formatTime } from '../../market/escrow.ts'
import { openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions, writeOptions } from '../../market/options.ts'
import { carryOut } from '../../market/write.ts'
import { assertOwner, readName } from '../../names/read-name.ts'

export const nameRelease = defineCommand({
  usage: 'name release <name>',
  details:
    'Gives a name of yours back: its bond is in your wallet again, and nobody is found under the name any more. Deployments go on\n' +
    "answering under their CIDs. A provider's name belongs to its account: stop it, then add --account <name>. Others can register\n" +
    'the name only after a rest, so that nobody who knew it is led to somebody else by surprise.',
  options: { ...writeOptions, ...accountOptions, ...marketOptions },
  examples: ['name release thumbs', 'name release carol --account carol --dry-run'],
  async run({ positionals: [text = ''], values }, context) {
    const writer = await openWriter(values, context)
    const { client } = writer
    const { registry } = writer.market.contracts
    const record = await readName(text, writer, context)
    const { name } = record
    const { address } = writer.account
    assertOwner(record, address)
    const bond = await readBond(client, registry, context.signal)
    const plan = {
      title: `Give the name ${name} back`,
      lines: [
        ['stands for', `a ${record.kind}`],
        ['bond', `${formatUsdc(bond.amountUsdc)} USDC, to ${address}`],
      ],
      facts: { name, bondUsdc: bond.amountUsdc, account: address },
      calls: [registryCalls(registry).unregister(name)],
    } as const
    const transactions = await carryOut(plan, { writer, flags: values }, context)
    if (!transactions) return
    const freeFrom = await readFreeFrom(client, { registry, name }, context.signal)
    context.print(
      `${name} is given back, for ${formatUsdc(bond.amountUsdc)} USDC. Anybody may register it from ${formatTime(freeFrom)} on.`,
      { ...plan.facts, freeFrom, transactions },
    )
  },
})
