import { type ParseArgsConfig, parseArgs } from 'node:util'
import type { Clock } from '../protocol/base/clock.ts'
import { nearestOf } from './nearest.ts'
import type { Terminal } from './terminal.ts'
import { usageError } from './usage-error.ts'

export { usageError }

/** One flag of a command: what `node:util` needs to parse it and what a person needs to use it. */
export interface Option {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  readonly multiple?: boolean
  /** The command does not run without it. */
  readonly isRequired?: boolean
  readonly default?: string | boolean
  /** What stands for the value in the help, such as `<usdc>`. */
  readonly value?: string
  readonly help: string
}

export type Options = Readonly<Record<string, Option>>

type ParsedValues<O extends Options> = ReturnType<
  typeof parseArgs<{ options: O & NonNullable<ParseArgsConfig['options']>; strict: true }>
>['values']

type ValuesOf<O extends Options> = ParsedValues<O> & {
  readonly [K in keyof O as O[K] extends { readonly isRequired: true } ? K : never]: NonNullable<
    ParsedValues<O>[K & keyof ParsedValues<O>]
  >
}

/** What a command is given beside its arguments: everything outside of it comes in here, so a test can be the outside. */
export interface CommandContext extends Terminal {
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal
  /** Calls `listener` whenever whoever supervises the process wants settings to be read again (SIGHUP). */
  readonly onReload: (listener: () => void) => Disposable
}

export interface CommandInput<Values> {
  readonly positionals: readonly string[]
  readonly values: Values
}

/** A command after its options' types were forgotten: what the dispatcher and the help read. */
export interface Command {
  /** `deposit <usdc>`, without the program's name. `<…>` must be given, `[…]` may be, `…` repeats. */
  readonly usage: string
  /** More than the one line of the command list, where one line is not enough. */
  readonly details?: string
  readonly options: Options
  /** Lines that work when pasted, without the program's name. */
  readonly examples: readonly string[]
  readonly run: (argv: readonly string[], context: CommandContext) => Promise<void>
}

/** Flags that every command takes; the dispatcher reads them. */
export const commonOptions = {
  json: { type: 'boolean', help: 'Print one JSON object instead of text' },
  help: { type: 'boolean', short: 'h', help: 'Show this help' },
} as const satisfies Options

/**
 * Makes a command of plain data: `values` is typed from `options`, the number of positionals is read from `usage`.
 *
 * @example
 * ```ts
 * export const deposit = defineCommand({
 *   usage: 'deposit <usdc>',
 *   options: {},
 *   examples: ['deposit 10'],
 *   async run({ positionals: [amount = ''] }, { print }) {
 *     print(`${formatUsdc(parseUsdc(amount))} USDC`, {})
 *   },
 * })
 * ```
 */
export function defineCommand<const O extends Options>(definition: {
  readonly usage: string
  /** Says why not, where an argument too many may be a secret that nothing should repeat. */
  readonly secretHint?: string
  readonly details?: string
  readonly options: O
  readonly examples: readonly string[]
  readonly run: (input: CommandInput<ValuesOf<O>>, context: CommandContext) => Promise<void>
}): Command {
  return {
    ...definition,
    run: (argv, context) => definition.run(parseArguments(definition, argv) as never, context),
  }
}

/** Key material that somebody may try to pass where every user of the machine can read it. */
const keyFlag = /^--?(private-?key|priv-?key|secret-?key|pk|key|mnemonic|seed(-phrase)?|password)(=|$)/i

interface Definition {
  readonly usage: string
  readonly options: Options
  readonly secretHint?: string
}

function parseArguments({ usage, options, secretHint }: Definition, argv: readonly string[]) {
  const known: Options = { ...options, ...commonOptions }
  const seeHelp = `See "khachapuri ${commandName(usage)} --help".`
  const secret = argv.find(
    (word) => keyFlag.test(word) && !Object.hasOwn(known, word.split('=')[0]!.slice(2)),
  )
  if (secret) {
    throw usageError(
      'A key or password is not accepted on the command line: every user of this machine could read it there.',
      'Use --account <name> with a keystore, --key-stdin, or the variable KHACHAPURI_PRIVATE_KEY.',
    )
  }
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      options: known as NonNullable<ParseArgsConfig['options']>,
      allowPositionals: true,
      strict: true,
    })
    checkPositionals(usage, positionals, secretHint)
    checkRequired(options, { values, seeHelp })
    return { values, positionals }
  } catch (error) {
    throw explainParseError(error, { known, seeHelp })
  }
}

function explainParseError(error: unknown, { known, seeHelp }: { known: Options; seeHelp: string }): unknown {
  const { code, message = '' } = error as { code?: string; message?: string }
  if (!code?.startsWith('ERR_PARSE_ARGS_')) return error
  const flag = /'(-[^'= ]+)/.exec(message)?.[1] ?? ''
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
    const near = nearestOf(flag.replace(/^-+/, ''), Object.keys(known))
    return usageError(`There is no flag ${flag} here.`, near ? `Did you mean --${near}? ${seeHelp}` : seeHelp)
  }
  const name = /--([\w-]+)/.exec(message)?.[1] ?? ''
  const wantsValue = known[name]?.type === 'string'
  return usageError(
    wantsValue
      ? `--${name} needs a value: --${name} ${known[name]?.value ?? '<value>'}.`
      : `--${name} takes no value.`,
    seeHelp,
  )
}

/** Holds the number of positionals to what the usage line promises. */
function checkPositionals(usage: string, positionals: readonly string[], secretHint?: string): void {
  const words = usage.split(' ').filter((word) => /^[<[](?!-)/.test(word))
  const required = words.filter((word) => word.startsWith('<'))
  const isOpenEnded = words.some((word) => word.endsWith('…'))
  const missing = required[positionals.length]
  if (missing) throw usageError(`${missing} is missing.`, `Usage: khachapuri ${usage}`)
  if (!isOpenEnded && positionals.length > words.length) {
    if (secretHint !== undefined) throw usageError('There is one argument too many.', secretHint)
    const extra = JSON.stringify(positionals[words.length])
    throw usageError(`${extra} is one argument too many.`, `Usage: khachapuri ${usage}`)
  }
}

interface Given {
  readonly values: Readonly<Record<string, unknown>>
  readonly seeHelp: string
}

function checkRequired(options: Options, { values, seeHelp }: Given): void {
  for (const [name, { isRequired, value = '<value>' }] of Object.entries(options)) {
    if (isRequired && values[name] === undefined) throw usageError(`--${name} ${value} is missing.`, seeHelp)
  }
}

/** The words of a usage line before its first argument: `pass create`. */
export function commandName(usage: string): string {
  return usage.split(/ (?=[<[])/)[0] ?? usage
}
