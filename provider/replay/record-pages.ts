import { Hono } from 'hono'
import type { Address, Hex } from 'viem'
import { callInputToJson } from '../../protocol/call-record.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { createSignedRequests, type SignedRequestsDeps } from '../http/signed-requests.ts'
import type { CallRecords } from './call-records.ts'

export interface RecordPagesDeps extends SignedRequestsDeps {
  readonly callRecords: Pick<CallRecords, 'read'>
}

export interface RecordPagesOptions {
  readonly provider: Address
  readonly market: Market
}

/** What a recorded call was asked with: shown to who paid for it and to who deployed the program, and to nobody else. */
export function createRecordPages(
  { callRecords, ...deps }: RecordPagesDeps,
  options: RecordPagesOptions,
): Hono {
  const app = new Hono()
  const { authorize } = createSignedRequests(deps, options)
  app.get('/_/receipts/:call/record', async (c) => {
    const record = callRecords.read(c.req.param('call') as Hex)
    if (!record) throw unknownCall()
    await authorize(c, (asker) => {
      if (!record.readers.includes(asker)) throw notYours(asker)
    })
    c.header('cache-control', 'no-store')
    return c.json(callInputToJson(record.input))
  })
  return app
}

const unknownCall = () =>
  new ProtocolError('not_found', 'There is no record of such a call here, or none any more.', {
    hint: 'Calls are recorded where their deployment says so, and for as long: "khachapuri deploy --record 7d".',
  })

const notYours = (asker: Address) =>
  new ProtocolError('signature_invalid', `The call is not one of ${asker}.`, {
    hint: 'What it was asked with is shown to who paid for it, and to who deployed the program: see --account.',
  })
