import { registerHooks } from 'node:module'

/**
 * For `node --import`, of the bench only: the same provider, whose ledger signs no receipts. The hook reaches the journal's thread, too,
 * which inherits it. There is no such switch in the product.
 */
const standIn = new URL('./no-receipt-groups.ts', import.meta.url).href

registerHooks({
  resolve: (specifier, context, next) =>
    specifier.endsWith('/receipt-groups.ts') && context.parentURL !== standIn
      ? { url: standIn, shortCircuit: true }
      : next(specifier, context),
})
