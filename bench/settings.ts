import { parseArgs } from 'node:util'
import { ProtocolError } from '../protocol/errors.ts'

/** What `npm run bench` was told. */
export interface Settings {
  /** Names of measurements; empty for all. */
  readonly only: readonly string[]
  /** Of one round at one target. */
  readonly seconds: number
  readonly rounds: number
  readonly isJson: boolean
  /** Whether the results go into `bench/README.md`. */
  readonly writes: boolean
  /** Where the gateway and the providers leave CPU profiles. */
  readonly profileDir: string | undefined
}

export const usage = `Usage: npm run bench -- [options]

Measures the market beside its peers, on this machine, which should have nothing else to do.

  --only <name>      Run this measurement only; may be repeated
  --seconds <n>      Length of one round at one target (default 4)
  --rounds <n>       Rounds, of which the medians are told (default 7)
  --json             Print the results as JSON
  --write            Put the results into bench/README.md, too
  --profile <dir>    Let gateway and providers leave CPU profiles there
  --help             Show this

Measurements: `

/** Reads the command line of `npm run bench`. @throws ProtocolError `usage_invalid` */
export function parseSettings(argv: readonly string[], names: readonly string[]): Settings | 'help' {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        only: { type: 'string', multiple: true, default: [] },
        seconds: { type: 'string', default: '4' },
        rounds: { type: 'string', default: '7' },
        json: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false },
        profile: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) return 'help'
    const unknown = values.only.find((name) => !names.includes(name))
    if (unknown !== undefined) throw new Error(`There is no measurement "${unknown}".`)
    return {
      only: values.only,
      seconds: parseNumber('seconds', values.seconds, { min: 0.2, max: 3600 }),
      rounds: Math.round(parseNumber('rounds', values.rounds, { min: 1, max: 1000 })),
      isJson: values.json,
      writes: values.write,
      profileDir: values.profile,
    }
  } catch (error) {
    throw new ProtocolError('usage_invalid', (error as Error).message, {
      hint: `${usage}${names.join(', ')}`,
      cause: error,
    })
  }
}

function parseNumber(flag: string, text: string, { min, max }: { min: number; max: number }): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new Error(`--${flag} takes a number from ${min} to ${max}.`)
}
