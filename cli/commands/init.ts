import { mkdir, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { defineCommand, usageError } from '../command.ts'
import { resolvePath } from '../project/packed-program.ts'
import { type TemplateFile, templateFiles, templateNames } from '../project/templates.ts'

export const init = defineCommand({
  usage: 'init [dir]',
  details: 'Nothing is overwritten: where one of the files is there already, none is written.',
  options: {
    template: { type: 'string', value: 'ts|js', default: 'ts', help: 'TypeScript or JavaScript' },
  },
  examples: ['init hello', 'init hello --template js'],
  async run({ positionals: [dir = '.'], values }, { cwd, print }) {
    const template = templateNames.find((name) => name === values.template)
    if (!template) throw usageError(`There is no template "${values.template}".`, 'Use ts or js.')
    const root = resolvePath(cwd, dir)
    const name = toProgramName(basename(root))
    const files = templateFiles(name, template)
    await assertAllAbsent(root, files)
    for (const { path, text } of files) {
      await mkdir(dirname(join(root, path)), { recursive: true })
      await writeFile(join(root, path), text, { flag: 'wx' })
    }
    const paths = files.map(({ path }) => path)
    const enter = dir === '.' ? '' : `cd ${/^[\w./~+-]+$/.test(dir) ? dir : JSON.stringify(dir)} && `
    print(
      [
        `Made the program "${name}" in ${root}:`,
        ...paths.map((path) => `  ${path}`),
        `Try it: ${enter}khachapuri dev`,
      ].join('\n'),
      { name, dir: root, files: paths },
    )
  },
})

async function assertAllAbsent(root: string, files: readonly TemplateFile[]): Promise<void> {
  for (const { path } of files) {
    const isThere = await stat(join(root, path)).then(
      () => true,
      () => false,
    )
    if (!isThere) continue
    throw new ProtocolError(
      'config_invalid',
      `${join(root, path)} is there already, so nothing was written.`,
      {
        hint: 'Choose another directory: khachapuri init <dir>.',
      },
    )
  }
}

/** A directory's name as the name of a program: `My App` becomes `my-app`. */
function toProgramName(text: string): string {
  const name = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, limits.nameBytesMax)
  return name.replace(/-$/, '') || 'program'
}
