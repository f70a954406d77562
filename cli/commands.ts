import type { Command } from './command.ts'

export interface CommandEntry {
  /** One line of the command list. It stands here, so that listing the commands loads none of them. */
  readonly summary: string
  readonly load: () => Promise<Command>
}

export interface CommandGroup {
  readonly title: string
  readonly commands: Readonly<Record<string, CommandEntry>>
}

/** Every command by its name, in the order in which somebody new needs them. Each is loaded when it is used. */
export const commandGroups: readonly CommandGroup[] = [
  {
    title: 'Programs',
    commands: {
      init: {
        summary: 'Make a small working program to start from',
        load: async () => (await import('./commands/init.ts')).init,
      },
      build: {
        summary: 'Bundle a program into a zip, the same bytes every time',
        load: async () => (await import('./commands/build.ts')).build,
      },
      id: {
        summary: 'Compute the ids of a zip, offline',
        load: async () => (await import('./commands/id.ts')).id,
      },
    },
  },
  {
    title: 'Keys',
    commands: {
      'key new': {
        summary: 'Make an account in an encrypted keystore file',
        load: async () => (await import('./commands/key/new.ts')).keyNew,
      },
      'key import': {
        summary: 'Encrypt an existing private key, read from standard input',
        load: async () => (await import('./commands/key/import.ts')).keyImport,
      },
      'key list': {
        summary: 'List the accounts of the keystore',
        load: async () => (await import('./commands/key/list.ts')).keyList,
      },
      'key show': {
        summary: "Show an account's address and file",
        load: async () => (await import('./commands/key/show.ts')).keyShow,
      },
    },
  },
]

/** The entry of a command's name, or undefined. */
export function findCommand(name: string): CommandEntry | undefined {
  return commandGroups.map(({ commands }) => commands).find((commands) => Object.hasOwn(commands, name))?.[
    name
  ]
}

export function commandNames(): readonly string[] {
  return commandGroups.flatMap(({ commands }) => Object.keys(commands))
}
