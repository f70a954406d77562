import { createLog } from '../../protocol/base/log.ts'
import { defineCommand } from '../command.ts'
import { parseCount } from '../duration.ts'
import { egressPrivateOption } from '../operate/egress.ts'
import { nativeRootOption, parseNativeRoot } from '../operate/native.ts'
import { untilStopped } from '../operate/until-stopped.ts'
import { readEnvFile } from '../project/env-file.ts'
import { parseParams } from '../project/manifest.ts'
import { computeIds, openProgram, resolvePath } from '../project/packed-program.ts'
import { createProgramServer, type ServedCall } from '../project/serve-program.ts'

export const run = defineCommand({
  usage: 'run [dir|zip]',
  details:
    'A provider for one program, on this machine only, until Ctrl-C: the same sandbox and limits, but no chain, no store\n' +
    'and no payment. Every path goes to the program. Requests and what the program prints are shown on standard error.',
  options: {
    port: { type: 'string', value: '<port>', default: '0', help: 'Where it listens; 0 takes a free one' },
    'env-file': {
      type: 'string',
      value: '<file>',
      help: 'Secrets (default: .env or secret in the directory)',
    },
    params: { type: 'string', value: '<json>', help: 'Public params in place of those in the manifest' },
    ...egressPrivateOption,
    ...nativeRootOption,
  },
  examples: ['run', 'run dist/app.zip --port 3000'],
  async run({ positionals: [path = '.'], values }, context) {
    const { cwd, note, print, signal } = context
    const port = parseCount('port', values.port, { min: 0, max: 65_535 })
    const nativeRoot = parseNativeRoot(values)
    const egressPrivate = values['egress-private'] ?? false
    const program = await openProgram(path, context)
    const params = values.params === undefined ? program.manifest.params : parseParams(values.params)
    const envPath = values['env-file']
    const file = await readEnvFile(
      envPath === undefined ? { dir: resolvePath(cwd, path) } : { path: resolvePath(cwd, envPath) },
    )
    const { programId } = await computeIds(program.zip, params)
    const onCall = ({ method, target, status, problem, tookMs }: ServedCall) => {
      note(`${method} ${target}  ${status ?? 'broken off'}  ${Math.round(tookMs)} ms`)
      if (problem !== undefined) note(`  ${problem}`)
    }
    await using served = await createProgramServer(
      createLog({ level: 'error' }),
      { port, nativeRoot, egressPrivate, onCall },
      context,
    )
    await served.start({ program, params, env: file?.env ?? {} })
    print(`program_id=${programId}\nhttp_url=${served.url.href}`, { programId, url: served.url.href })
    note(`Ready: curl ${served.url.href}  (Ctrl-C stops)`)
    await untilStopped(signal)
  },
})
