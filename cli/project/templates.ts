/** A file of a new program. */
export interface TemplateFile {
  readonly path: string
  readonly text: string
}

export const templateNames = ['ts', 'js'] as const
export type TemplateName = (typeof templateNames)[number]

/** The files of a new program: small, but real. */
export function templateFiles(name: string, template: TemplateName): readonly TemplateFile[] {
  const entry = `src/index.${template}`
  return [
    { path: 'khachapuri.json', text: manifestText(name, entry) },
    { path: entry, text: template === 'ts' ? sourceTs : sourceJs },
    { path: '.gitignore', text: 'node_modules/\ndist/\n.env\nsecret\n' },
    { path: 'README.md', text: readmeText(name, entry) },
  ]
}

function manifestText(name: string, entry: string): string {
  return `${JSON.stringify({ name, runtime: 'js', entry, limits: { timeoutMs: 5000, memoryMiB: 64 } }, undefined, 2)}\n`
}

const sourceTs = `/** Settings of the deployment: the lines of .env. Only the providers that run it can read them. */
interface Env {
  readonly GREETING?: string
}

/** Answers every HTTP request that is sent to the deployment's CID. */
export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url)
    switch (url.pathname) {
      case '/':
      case '/hello': {
        const name = url.searchParams.get('name') ?? 'world'
        return Response.json({ greeting: \`\${env.GREETING ?? 'Hello'}, \${name}!\` })
      }
      case '/echo':
        return new Response(request.body, {
          headers: { 'content-type': request.headers.get('content-type') ?? 'application/octet-stream' },
        })
      default:
        return Response.json({ error: \`There is nothing at \${url.pathname}.\` }, { status: 404 })
    }
  },
}
`

const sourceJs = sourceTs
  .replace(/\/\*\* Settings[\s\S]*?\n}\n\n/, '')
  .replace(
    "/** Answers every HTTP request that is sent to the deployment's CID. */",
    "// Answers every HTTP request that is sent to the deployment's CID. `env` holds the lines of .env, which only the\n" +
      '// providers that run it can read.',
  )
  .replace('request: Request, env: Env): Promise<Response>', 'request, env)')

function readmeText(name: string, entry: string): string {
  return `# ${name}

A program for Khachapuri: \`${entry}\` answers HTTP requests, any provider can run it.

\`\`\`sh
khachapuri dev                        # try it here, and change it: no chain, no money
khachapuri deploy --provider alice    # publish it; prints its CID and its URLs
curl 'http://alice.localhost:8080/<cid>/hello?name=Ada'
curl http://alice.localhost:8080/<cid>/echo --data-binary @README.md
khachapuri logs ${name} -f            # what it prints, and its calls
khachapuri rollback                   # the version before, again
\`\`\`

- \`khachapuri.json\` is the manifest: the name, the entry, time and memory of a call, public \`params\`.
- \`.env\` holds secrets, one \`NAME=value\` a line, such as \`GREETING=Good morning\`. They are sealed for the providers
  that you deploy to, and **those providers can read them**.
- Files in \`static/\` go into the zip as they are.
`
}
