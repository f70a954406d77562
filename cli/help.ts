import { type Command, commonOptions, type Options } from './command.ts'
import { commandGroups } from './commands.ts'

/** The list of all commands. */
export function formatHelp(): string {
  const width = Math.max(...commandGroups.flatMap((g) => Object.keys(g.commands)).map((name) => name.length))
  const groups = commandGroups.map(({ title, commands }) =>
    [
      `${title}:`,
      ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`),
    ].join('\n'),
  )
  return [
    'khachapuri: pay-per-call compute that anybody can host, anybody can pay for and everybody can check',
    'Usage: khachapuri <command> [flags]',
    ...groups,
    [
      'Everywhere:',
      `  ${'--json'.padEnd(width)}  One JSON object on standard output: the answer, or a problem with a "code"`,
      `  ${'--help'.padEnd(width)}  Help for a command, with examples`,
      `  ${'--version'.padEnd(width)}  The version`,
    ].join('\n'),
    'Exit codes: 0 done, 1 refused, 2 wrong usage, 70 a bug of ours, 130 interrupted.',
  ].join('\n\n')
}

/** Help for one command. */
export function formatCommandHelp(command: Command, summary: string): string {
  const sections = [
    `${summary}.`,
    `Usage: khachapuri ${command.usage}`,
    ...(command.details ? [command.details] : []),
    `Flags:\n${formatOptions({ ...command.options, ...commonOptions })}`,
    `Examples:\n${command.examples.map((line) => `  khachapuri ${line}`).join('\n')}`,
  ]
  return sections.join('\n\n')
}

/** The commands that begin with a noun, for `khachapuri key`. */
export function formatNounHelp(noun: string): string {
  const entries = commandGroups.flatMap(({ commands }) => Object.entries(commands))
  const lines = entries.filter(([name]) => name.startsWith(`${noun} `))
  const width = Math.max(...lines.map(([name]) => name.length))
  return [
    `Commands of "${noun}":`,
    ...lines.map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`),
  ].join('\n')
}

function formatOptions(options: Options): string {
  const rows = Object.entries(options).map(([name, option]) => ({
    left: `${option.short ? `-${option.short}, ` : ''}--${name}${option.value ? ` ${option.value}` : ''}`,
    right:
      option.help +
      (option.isRequired ? ' (required)' : '') +
      formatDefault(option.default) +
      (option.multiple ? ' (may be repeated)' : ''),
  }))
  const width = Math.max(...rows.map(({ left }) => left.length))
  return rows.map(({ left, right }) => `  ${left.padEnd(width)}  ${right}`).join('\n')
}

const formatDefault = (value: string | boolean | undefined): string =>
  typeof value === 'string' ? ` (default ${value})` : ''
