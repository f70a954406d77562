import { ProtocolError } from '../errors.ts'

/**
 * An x402 payment is an authorization for one payee, and good for whoever has it until it ends: a member that was outvoted could still
 * take it to the chain, and each member would need one that it settles in a transaction of its own.
 */
export const noPaymentsForSwarms = () =>
  new ProtocolError(
    'ballot_payment_unsupported',
    'Swarms are not paid by x402, whose payments are for one provider.',
    {
      hint: 'Sign a pass for all providers of the deployment (khachapuri pass create), or a voucher for each (khachapuri voucher create).',
    },
  )
