import { type Command, commonOptions, type Option } from '../command.ts'

/** Shells that can be taught. */
export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

/** A command as its shell sees it. */
export interface Completable {
  /** One word or two. */
  readonly name: string
  readonly summary: string
  readonly options: Command['options']
}

/**
 * A script that completes commands, flags, and the values of flags that have few; files anywhere else. It holds all of
 * that itself, so that no key press starts a process.
 */
export function formatCompletion(shell: Shell, commands: readonly Completable[]): string {
  if (shell === 'fish') return formatFish(commands)
  const script = formatBash(commands)
  // zsh reads what is written for bash.
  return shell === 'bash'
    ? script
    : `autoload -Uz compinit bashcompinit && compinit && bashcompinit\n${script}`
}

function formatBash(commands: readonly Completable[]): string {
  const cases = commands.map(({ name, options }) => {
    const flags = flagsOf(options)
    const choices = flags.flatMap(([flag, option]) => {
      const values = choicesOf(option)
      return values ? [`${flag}) words=${quote(values.join(' '))} ;;`] : []
    })
    const words = flags.map(([flag]) => `--${flag}`).join(' ')
    return [
      `    ${quote(name)})`,
      `      [[ $current == -* ]] && words=${quote(words)}`,
      ...(choices.length === 0 ? [] : [`      case "\${previous#--}" in ${choices.join(' ')} esac`]),
      '      ;;',
    ].join('\n')
  })
  const nouns = [...verbsByNoun(commands)].map(
    ([noun, verbs]) =>
      `    ${quote(noun)}) ((COMP_CWORD == 2)) && words=${quote(verbs.map(({ name }) => verbOf(name)).join(' '))} ;;`,
  )
  return [
    '_khachapuri() {',
    `  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" words='' name="\${COMP_WORDS[1]}"`,
    `  case "$name" in ${[...verbsByNoun(commands).keys()].join('|')}) ((COMP_CWORD > 2)) && name="$name \${COMP_WORDS[2]}" ;; esac`,
    `  ((COMP_CWORD == 1)) && name='' && words=${quote(firstWords(commands).join(' '))}`,
    '  case "$name" in',
    ...nouns,
    ...cases,
    '  esac',
    '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
    '}',
    'complete -o default -F _khachapuri khachapuri',
  ].join('\n')
}

function formatFish(commands: readonly Completable[]): string {
  const complete = (condition: string, rest: string) =>
    `complete -c khachapuri -n ${quote(condition)} ${rest}`
  const nouns = verbsByNoun(commands)
  const lines = commands.flatMap(({ name, summary, options }) => {
    const words = name.split(' ')
    const isHere = words.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ')
    const [noun = '', verb] = words
    return [
      verb === undefined
        ? complete('__fish_is_nth_token 1', `-f -a ${noun} -d ${quote(summary)}`)
        : complete(
            `__fish_is_nth_token 2; and __fish_seen_subcommand_from ${noun}`,
            `-f -a ${verb} -d ${quote(summary)}`,
          ),
      ...flagsOf(options).map(([flag, option]) => {
        const values = choicesOf(option)
        const short = option.short === undefined ? '' : ` -s ${option.short}`
        const takes = values ? ` -x -a ${quote(values.join(' '))}` : option.type === 'string' ? ' -r' : ''
        return complete(isHere, `-l ${flag}${short}${takes} -d ${quote(option.help)}`)
      }),
    ]
  })
  const heads = [...nouns.keys()].map((noun) => complete('__fish_is_nth_token 1', `-f -a ${noun}`))
  return [...heads, ...lines].join('\n')
}

const flagsOf = (options: Command['options']): readonly (readonly [string, Option])[] =>
  Object.entries({ ...options, ...commonOptions })

/** `ts|js` are all values that there are; `none|public|<origin>` are not. */
const choicesOf = ({ value }: Option): readonly string[] | undefined =>
  value !== undefined && /^[\w-]+(\|[\w-]+)+$/.test(value) ? value.split('|') : undefined

const firstWords = (commands: readonly Completable[]): readonly string[] => [
  ...new Set(commands.map(({ name }) => name.split(' ')[0] ?? name)),
]

const verbOf = (name: string): string => name.split(' ')[1] ?? ''

function verbsByNoun(commands: readonly Completable[]): ReadonlyMap<string, readonly Completable[]> {
  return Map.groupBy(
    commands.filter(({ name }) => name.includes(' ')),
    ({ name }) => name.split(' ')[0] ?? name,
  )
}

/** One word for any of the three shells; there are no single quotes in names of flags and commands. */
const quote = (text: string): string => `'${text.replaceAll("'", '’')}'`
