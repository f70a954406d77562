import { type Command, defineCommand, usageError } from '../command.ts'
import { formatCompletion, shells } from '../completion/format-completion.ts'

interface Group {
  readonly commands: Readonly<Record<string, { readonly summary: string; load(): Promise<Command> }>>
}

/** @param groups - All commands: the list that has this one, too, so it is handed in. */
export const createCompletion = (groups: readonly Group[]): Command =>
  defineCommand({
    usage: 'completion <bash|zsh|fish>',
    details:
      'Prints a script that completes commands, flags and files at the Tab key. Have your shell read it when it starts:\n' +
      '  bash  echo \'eval "$(khachapuri completion bash)"\' >> ~/.bashrc\n' +
      '  zsh   echo \'eval "$(khachapuri completion zsh)"\' >> ~/.zshrc\n' +
      '  fish  khachapuri completion fish > ~/.config/fish/completions/khachapuri.fish',
    options: {},
    examples: ['completion bash'],
    async run({ positionals: [text = ''] }, { print }) {
      const shell = shells.find((each) => each === text)
      if (!shell)
        throw usageError(`There is no script for ${JSON.stringify(text)}.`, `Use ${shells.join(', ')}.`)
      const entries = groups.flatMap(({ commands }) => Object.entries(commands))
      const commands = await Promise.all(
        entries.map(async ([name, { summary, load }]) => ({
          name,
          summary,
          options: (await load()).options,
        })),
      )
      const script = formatCompletion(shell, commands)
      print(script, { shell, script })
    },
  })
