import { type Hex, toEventSelector } from 'viem'
import { escrowAbi } from './contracts.ts'

type EscrowEvent = Extract<(typeof escrowAbi)[number], { type: 'event' }>['name']

/** The first topics of the escrow's events with these names. */
export const escrowSelectors = (names: readonly EscrowEvent[]): Hex[] =>
  escrowAbi.flatMap((entry) =>
    entry.type === 'event' && names.includes(entry.name) ? [toEventSelector(entry)] : [],
  )
