import { isDevChain } from '../protocol/dev-chain.ts'
import { ProtocolError } from '../protocol/errors.ts'

/** Ways to lie on purpose, because half of this network is about catching liars. Dev chains only. */
export const faults = ['wrong-id'] as const
export type Fault = (typeof faults)[number]

/**
 * Reads `--fault`. @throws ProtocolError `config_invalid` for an unknown fault, and for any on a chain with real money
 */
export function parseFault(text: string, chainId: number): Fault {
  const fault = faults.find((name) => name === text)
  if (!fault) {
    throw new ProtocolError('config_invalid', `There is no fault "${text.slice(0, 40)}".`, {
      hint: `Faults: ${faults.join(', ')}.`,
    })
  }
  if (!isDevChain({ chainId })) {
    throw new ProtocolError('config_invalid', `Faults are refused on chain ${chainId}.`, {
      hint: 'Inject faults on a development chain, such as that of "npm start".',
    })
  }
  return fault
}
