import { defineCommand } from '../command.ts'
import { parseParams } from '../project/manifest.ts'
import { computeIds, readProgramZip, resolvePath } from '../project/packed-program.ts'

export const id = defineCommand({
  usage: 'id <zip>',
  details:
    'Nothing is fetched and nobody is asked. The programId is sha256(program digest ‖ sha256(canonical params)); up to\n' +
    '1 MiB of zip the program digest is its SHA-256, so two lines of shell give the same:\n' +
    '  params=$(printf {} | sha256sum | cut -d" " -f1)  # canonical JSON: sorted names, no spaces\n' +
    '  printf "$(sha256sum < app.zip | cut -d" " -f1)$params" | tr a-f A-F | basenc -d --base16 | sha256sum',
  options: {
    params: { type: 'string', value: '<json>', help: 'Public params in place of those in the manifest' },
  },
  examples: ['id dist/app.zip', `id dist/app.zip --params '{"greeting":"Hello"}' --json`],
  async run({ positionals: [zip = ''], values }, { cwd, print, signal }) {
    const program = await readProgramZip(resolvePath(cwd, zip), signal)
    const params = values.params === undefined ? program.manifest.params : parseParams(values.params)
    const ids = await computeIds(program.zip, params)
    print(
      [
        `program        ${ids.program}`,
        `programDigest  ${ids.programDigest}`,
        `programId      ${ids.programId}`,
      ].join('\n'),
      { ...ids, params },
    )
  },
})
