import { systemClock } from '../../../protocol/base/clock.ts'
import { createTestLog } from '../../../protocol/base/log.ts'
import { ampleMs, type ComplianceProgram, testRuntimeCompliance } from '../compliance.ts'
import type { ProgramFiles } from '../runtime.ts'
import { createJsRuntime } from './js-runtime.ts'

const sources: Record<ComplianceProgram, string> = {
  echo: `export default {
    fetch(request) {
      const url = new URL(request.url)
      const status = Number(url.searchParams.get('status') ?? 200)
      const headers = new Headers({
        'x-method': request.method,
        'x-target': url.pathname + url.search,
        'x-seen': request.headers.get('x-test') ?? '',
      })
      headers.append('set-cookie', 'a=1')
      headers.append('set-cookie', 'b=2')
      return new Response([204, 304].includes(status) ? null : request.body, { status, headers })
    },
  }`,
  bytes: `export default {
    fetch(request) {
      const size = Number(new URL(request.url).searchParams.get('size'))
      let at = 0
      return new Response(new ReadableStream({
        pull(controller) {
          if (at === size) return controller.close()
          const chunk = new Uint8Array(Math.min(65536, size - at))
          for (let i = 0; i < chunk.length; i++) chunk[i] = at++ % 251
          controller.enqueue(chunk)
        },
      }))
    },
  }`,
  count: `export default {
    async fetch(request) {
      let size = 0
      for await (const chunk of request.body) size += chunk.length
      return new Response(String(size))
    },
  }`,
  settings: `export default {
    fetch: (request, env) => Response.json({ secret: env.SECRET, params: env.params }),
  }`,
  endless: `export default {
    fetch() {
      return new Response(new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(65536)) }))
    },
  }`,
  loop: 'export default { fetch() { for (;;); } }',
  hog: `const kept = []
  export default {
    fetch() {
      for (;;) kept.push(new Uint8Array(1 << 20).fill(1))
    },
  }`,
  crash: "export default { async fetch() { throw new Error('ouch') } }",
}

const toProgram = (source: string): ProgramFiles => ({
  files: [{ path: 'index.js', bytes: Buffer.from(source) }],
  entry: 'index.js',
})

const programs = Object.fromEntries(
  Object.entries(sources).map(([name, source]) => [name, toProgram(source)]),
) as Record<ComplianceProgram, ProgramFiles>

for (const mode of ['auto', 'process'] as const) {
  testRuntimeCompliance(mode === 'auto' ? 'js behind the walls of this machine' : 'js in a plain process', {
    createRuntime: () =>
      createJsRuntime(
        { clock: systemClock, log: createTestLog() },
        { mode, zygotes: 0, startTimeoutMs: ampleMs },
        new AbortController().signal,
      ),
    programs,
  })
}
