import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { defineCommand } from '../command.ts'
import { formatBytes } from '../format.ts'
import { buildProgram } from '../project/build.ts'
import { computeIds, resolvePath } from '../project/packed-program.ts'

export const build = defineCommand({
  usage: 'build [dir]',
  details:
    'TypeScript and JavaScript are bundled with their packages into one module; the folder static/ comes along as it\n' +
    'is. The same files give the same bytes on every machine, so the CID can be checked by anybody. A zip is public:\n' +
    'secrets belong into .env, which is never packed.',
  options: {
    output: {
      type: 'string',
      short: 'o',
      value: '<file>',
      help: 'Where the zip goes (default dist/app.zip)',
    },
  },
  examples: ['build', 'build hello -o hello.zip'],
  async run({ positionals: [dir = '.'], values }, { cwd, note, print, signal }) {
    const root = resolvePath(cwd, dir)
    const { zip, manifest, files, warnings } = await buildProgram(root, signal)
    for (const warning of warnings) note(`Warning: ${warning.trim()}`)
    const path = values.output === undefined ? join(root, 'dist', 'app.zip') : resolvePath(cwd, values.output)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, zip)
    const ids = await computeIds(zip, manifest.params)
    const listing = files.map((file) => `  ${file.path}  ${formatBytes(file.bytes)}`)
    print(
      [
        `${path}  ${formatBytes(zip.byteLength)}, ${files.length} files:`,
        ...listing,
        `program    ${ids.program}`,
        `programId  ${ids.programId}`,
      ].join('\n'),
      { path, bytes: zip.byteLength, files, ...ids },
    )
  },
})
