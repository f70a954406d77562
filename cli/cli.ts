import { systemClock } from '../protocol/base/clock.ts'
import { isProtocolError, ProtocolError } from '../protocol/errors.ts'
import { type CommandContext, usageError } from './command.ts'
import { commandNames, findCommand } from './commands.ts'
import { toFileRefusal } from './files.ts'
import { formatCommandHelp, formatHelp, formatNounHelp } from './help.ts'
import { nearestOf } from './nearest.ts'
import { createTerminal, formatFacts, type TerminalStreams, toPlainText } from './terminal.ts'
import { version } from './version.ts'

/** 0 done, 1 refused, 2 wrong usage, 70 a bug of ours (EX_SOFTWARE), 130 interrupted. */
export type ExitCode = 0 | 1 | 2 | 70 | 130

/** What surrounds one run of the command line. */
export interface World extends TerminalStreams {
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Absent where nobody can ask for that. */
  readonly onReload?: CommandContext['onReload']
}

/**
 * Runs one command line to its end and tells how it went; never throws.
 *
 * @param argv - The words after `khachapuri`.
 * @param signal - Aborts on Ctrl-C: a command that serves ends well, any other is interrupted.
 */
export async function runCli(argv: readonly string[], world: World, signal: AbortSignal): Promise<ExitCode> {
  const json = argv.includes('--json')
  const terminal = createTerminal(world, { json }, signal)
  const { cwd, env, onReload = neverReloads } = world
  const context: CommandContext = { ...terminal, cwd, env, onReload, clock: systemClock, signal }
  try {
    await dispatch(argv, context)
    return 0
  } catch (error) {
    return reportFailure(error, { world, json, signal })
  }
}

const neverReloads: CommandContext['onReload'] = () => ({ [Symbol.dispose]: () => undefined })

async function dispatch(argv: readonly string[], context: CommandContext): Promise<void> {
  const { name, rest } = splitCommand(argv)
  const wantsHelp = rest.includes('--help') || rest.includes('-h')
  if (name === undefined) return answerWithoutCommand(rest, context)
  const entry = findCommand(name)
  if (!entry) return answerUnknown(name, { wantsHelp, context })
  const command = await entry.load()
  if (!wantsHelp) return command.run(rest, context)
  const { usage, options, examples } = command
  context.print(formatCommandHelp(command, entry.summary), {
    usage,
    summary: entry.summary,
    options,
    examples,
  })
}

/** A command's name is one word or two, and comes first; `help` in front of it is the same as `--help` behind. */
function splitCommand(argv: readonly string[]): { name: string | undefined; rest: readonly string[] } {
  if (argv[0] === 'help' && argv.length > 1) return splitCommand([...argv.slice(1), '--help'])
  if (argv[0] === 'help') return { name: undefined, rest: ['--help'] }
  const [first, second] = argv
  if (first === undefined || first.startsWith('-')) return { name: undefined, rest: argv }
  if (findCommand(first)) return { name: first, rest: argv.slice(1) }
  if (second !== undefined && !second.startsWith('-')) {
    return { name: `${first} ${second}`, rest: argv.slice(2) }
  }
  return { name: first, rest: argv.slice(1) }
}

function answerWithoutCommand(flags: readonly string[], { print }: CommandContext): void {
  const [flag] = flags.filter((word) => word !== '--json')
  if (flag === '--version' || flag === '-V' || flag === '-v') print(version, { version })
  else if (flag === undefined || flag === '--help' || flag === '-h')
    print(formatHelp(), { commands: commandNames() })
  else {
    const [name = ''] = flag.split('=')
    const near = nearestOf(name, ['--version', '--help', '--json'])
    throw usageError(
      `There is no flag ${name} before a command.`,
      near ? `Did you mean ${near}?` : 'See "khachapuri help".',
    )
  }
}

/** Helps with half a command, or refuses one that does not exist. */
function answerUnknown(
  name: string,
  { wantsHelp, context }: { wantsHelp: boolean; context: CommandContext },
): void {
  const [noun = ''] = name.split(' ')
  const verbs = commandNames().filter((known) => known.startsWith(`${noun} `))
  const isNoun = name === noun && verbs.length > 0
  if (isNoun && wantsHelp) context.print(formatNounHelp(noun), { commands: verbs })
  else if (verbs.length > 0) {
    const problem = isNoun ? `"${noun}" needs to know what to do.` : `There is no command "${name}".`
    throw usageError(problem, `Try one of: ${verbs.join(', ')}.`)
  } else {
    const near = nearestOf(name, commandNames()) ?? nearestOf(noun, commandNames())
    throw usageError(
      `There is no command "${near?.includes(' ') ? name : noun}".`,
      near ? `Did you mean "${near}"?` : 'See "khachapuri help".',
    )
  }
}

function reportFailure(
  error: unknown,
  { world, json, signal }: { world: World; json: boolean; signal: AbortSignal },
): ExitCode {
  if (signal.aborted && error === signal.reason) return 130
  const refusal = isProtocolError(error) ? error : toFileRefusal(error)
  if (refusal) {
    const { code, message, hint } = refusal
    if (json) void world.writeOut(`${formatFacts(refusal.toProblem())}\n`)
    else world.writeError(`${toPlainText(`Error: ${message}\n${hint}\n(${code})`)}\n`)
    return code === 'usage_invalid' ? 2 : 1
  }
  const bug = new ProtocolError('internal', 'The command failed in a way that it should not have.', {
    hint: 'This is a bug: please report it with the lines above.',
  })
  world.writeError(`${error instanceof Error ? error.stack : String(error)}\n`)
  if (json) void world.writeOut(`${formatFacts(bug.toProblem())}\n`)
  else world.writeError(`Error: ${bug.message}\n${bug.hint}\n(${bug.code})\n`)
  return 70
}
