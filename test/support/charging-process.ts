import { isProtocolError } from '../../protocol/errors.ts'
import { usdc } from '../../protocol/usdc.ts'
import { chargeCall, claimOf, grantOf, openTestLedger, receiptOf, reserve } from './money.ts'

/**
 * A process that charges as fast as it can and says on standard output which calls were charged for good, until it is
 * killed or the disk is full. Started by ledger-crash.test.ts: `charging-process.ts <dir> [body bytes]`.
 */
const [dir = '', bodyBytes = '0'] = process.argv.slice(2)
const ledger = await openTestLedger(dir)
const grant = grantOf({ budgetUsdc: usdc(10n ** 15n) })
/** Waits for a reader that is slow: a pipe that is full is no failure of the ledger. */
const say = (line: string) => new Promise((resolve) => process.stdout.write(`${line}\n`, resolve))
await say('ready')

async function chargeForever(lane: number): Promise<void> {
  for (let count = 0; ; count += 1) {
    if (bodyBytes === '0') {
      await say((await chargeCall(ledger, { grant })).callId)
      continue
    }
    await say(await chargeKeyed(`${lane}-${count}`))
  }
}

/** With an answer to store, so that the disk fills soon. */
async function chargeKeyed(name: string): Promise<string> {
  const claim = claimOf({ grant })
  const reservation = reserve(ledger, claim)
  const { payer, deployment } = receiptOf(claim)
  const request = { payer, deployment, key: name, requestDigest: claim.callId }
  const claimed = await ledger.claimKey(request, new AbortController().signal)
  if (claimed.kind !== 'claimed') throw new Error('the key was taken')
  const answer = { status: 200, rawHeaders: [], body: new Uint8Array(Number(bodyBytes)) }
  await reservation.charge(receiptOf(claim), { key: claimed.key, answer })
  return claim.callId
}

try {
  await Promise.all(Array.from({ length: 16 }, (_, lane) => chargeForever(lane)))
} catch (error) {
  const refused = ledger.reserve(claimOf({ grant }))
  await say(`failed ${isProtocolError(error) ? error.code : String(error)}`)
  await say(`then ${refused.kind === 'refused' ? refused.error.code : refused.kind}`)
  process.exit(3)
}
