import { parseArgs } from 'node:util'
import { ProtocolError } from '../protocol/errors.ts'
import { type Fault, faults, parseFault } from '../provider/faults.ts'

/** What `npm start` was told. */
export interface Settings {
  /** Of the gateway; 0 takes a free one. */
  readonly port: number
  /** Stop when the demonstration calls are settled. */
  readonly once: boolean
  readonly fault: Fault | undefined
  /** Whether carol, dave and erin are there, too, for swarms. */
  readonly isSwarm: boolean
  /** Which of them lies. */
  readonly liar: GuestName | undefined
  readonly isVerbose: boolean
}

/** Who joins alice and bob for swarms. */
export const guestNames = ['carol', 'dave', 'erin'] as const
export type GuestName = (typeof guestNames)[number]

/** Hardhat's usual id; tools take a chain with it for one without real money. */
export const devChainId = 31_337

export const usage = `Usage: npm start -- [options]

Runs a market on this machine: chain, contracts, gateway, the providers alice and bob, and the examples.

  --port <n>      Port of the gateway (default 8080; 0 takes a free one)
  --once          Stop after the demonstration calls were answered and settled on chain
  --fault <name>  Let the providers misbehave on purpose: ${faults.join(', ')}
  --swarm         Run three more providers, carol, dave and erin, for calls that several answer
  --liar <name>   The same, and one of the three changes a byte of every answer
  --verbose       Log as JSON to standard error
  --help          Show this

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted before the market was ready.`

/** Reads the command line of `npm start`. @throws ProtocolError `usage_invalid` */
export function parseSettings(argv: readonly string[]): Settings | 'help' {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        port: { type: 'string', default: '8080' },
        once: { type: 'boolean', default: false },
        fault: { type: 'string' },
        swarm: { type: 'boolean', default: false },
        liar: { type: 'string' },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) return 'help'
    const port = /^\d{1,5}$/.test(values.port) ? Number(values.port) : 65_536
    if (port > 65_535)
      throw new Error(`--port takes a number from 0 to 65535, not "${values.port.slice(0, 20)}".`)
    const fault = values.fault === undefined ? undefined : parseFault(values.fault, devChainId)
    const liar = values.liar === undefined ? undefined : parseLiar(values.liar)
    const isSwarm = values.swarm || liar !== undefined
    return { port, once: values.once, fault, isSwarm, liar, isVerbose: values.verbose }
  } catch (error) {
    throw new ProtocolError('usage_invalid', (error as Error).message, { hint: usage, cause: error })
  }
}

function parseLiar(text: string): GuestName {
  const name = guestNames.find((one) => one === text)
  if (name) return name
  throw new Error(`--liar is one of ${guestNames.join(', ')}, not "${text.slice(0, 20)}".`)
}
