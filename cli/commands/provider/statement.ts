import { ProtocolError } from '../../../protocol/errors.ts'
import { commonOptions, defineCommand } from '../../command.ts'
import { openMarket } from '../../market/open.ts'
import { marketOptions } from '../../market/options.ts'
import { findProviderDir, providerOptions } from '../../operate/provider-dir.ts'
import { openProviderHistory } from '../../operate/provider-history.ts'
import { createDifferences } from '../../statement/differences.ts'
import { asAddress, createLedgerBooks } from '../../statement/ledger-books.ts'
import { readStatement } from '../../statement/read-statement.ts'
import { parseStatementFlags, statementOptions, writeStatement } from '../../statement/write-statement.ts'

export const providerStatement = defineCommand({
  usage: 'provider statement',
  details:
    "What the provider earned: each settlement on the chain, and before it the calls that it charged, from the provider's own\n" +
    'ledger, running or not; the calls that were paid by x402; and those that no settlement has charged for yet. Rows, receipts, usage roots and balances are compared with the\n' +
    'chain, to the last unit: where they differ, the difference is told, and the command ends with 1. It needs no key.',
  options: { ...statementOptions, ...providerOptions, ...marketOptions, ...commonOptions },
  examples: ['provider statement --since 30d', 'provider statement --domain carol --csv > income.csv'],
  async run({ values }, context) {
    const when = parseStatementFlags(values, context.clock.nowMs())
    const dir = await findProviderDir(values, context)
    const at = await openMarket(values, context)
    using history = await openProviderHistory(dir, context.signal)
    const { provider: account, chainId, escrow } = history.identity
    const { market } = at
    if (chainId !== market.chainId || escrow !== market.contracts.escrow) {
      throw new ProtocolError(
        'config_invalid',
        `The ledger in ${dir} is of the escrow ${escrow} on chain ${chainId}, and this is another market.`,
        { hint: 'Name its market with --gateway and --rpc.' },
      )
    }
    const differences = createDifferences()
    const scope = { account, withIncome: true, ...when, isShown: () => true, nameOf: asAddress }
    const books = await createLedgerBooks(history)
    await writeStatement(
      readStatement(at, scope, { books, differences }, context),
      {
        flags: values,
        facts: { account, escrow, chainId },
        differences,
        hint: () => 'A ledger that was lost or put back has no receipts for what was settled before.',
      },
      context,
    )
  },
})
