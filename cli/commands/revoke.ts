import { defineCommand } from '../command.ts'
import { endGrantOptions, runEndGrant } from '../market/end-grant.ts'

export const revoke = defineCommand({
  usage: 'revoke <provider>',
  details:
    'Ends the grant now: no call is charged to it any more. The provider may still settle what it served until the\n' +
    'notice has passed; then "reclaim" brings the rest back.',
  options: endGrantOptions,
  examples: ['revoke alice', 'revoke bob --account payer --yes'],
  run: (input, context) => runEndGrant('revoke', input, context),
})
