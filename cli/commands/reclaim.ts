import { defineCommand } from '../command.ts'
import { endGrantOptions, runEndGrant } from '../market/end-grant.ts'

export const reclaim = defineCommand({
  usage: 'reclaim <provider>',
  details:
    'Closes a grant that has ended: what the provider did not collect is free again. It is possible once the notice has\n' +
    'passed, and until you do it the provider can still settle.',
  options: endGrantOptions,
  examples: ['reclaim alice', 'reclaim bob --account payer --yes'],
  run: (input, context) => runEndGrant('reclaim', input, context),
})
