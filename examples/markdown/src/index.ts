import { renderPage } from './render-page.ts'

const bodyBytesMax = 1024 * 1024

/** `POST` a Markdown file, get a page of HTML; `GET` says how. */
export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url)
    if (pathname !== '/') return refuse(404, { error: `There is nothing at ${pathname}.`, hint: usageHint })
    switch (request.method) {
      case 'GET':
      case 'HEAD':
        return answer(usagePage, 'en')
      case 'POST':
        return convert(request, searchParams.get('language') ?? 'en')
      default:
        return refuse(405, { error: `${request.method} is not possible here.`, hint: usageHint }, { allow })
    }
  },
}

const allow = 'GET, HEAD, POST'
const usageHint = 'Send the file as it is: curl --data-binary @sample.md …'

const usagePage = `# Markdown to HTML

Send a Markdown file to this address and get a page back, with its style in it and without any script:

    curl --data-binary @sample.md <this address> > sample.html

- GitHub-flavoured Markdown in UTF-8, at most 1 MiB: tables, task lists, code, autolinks.
- The page's title is the first heading. Its language is English, or what \`?language=ka\` says.
- HTML inside the Markdown is shown as text. Links go to \`http:\`, \`https:\` and \`mailto:\`; others stay text.
`

async function convert(request: Request, language: string): Promise<Response> {
  if (!/^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$/.test(language)) {
    const hint = 'Send a language tag such as ?language=ka or ?language=pt-BR.'
    return refuse(400, { error: '"language" is not a language tag.', field: 'language', hint })
  }
  const type = request.headers.get('content-type') ?? ''
  if (type.startsWith('multipart/')) {
    return refuse(415, { error: 'The body is a form, not a Markdown file.', hint: usageHint })
  }
  const bytes = await readBounded(request)
  if (bytes === undefined) {
    return refuse(413, { error: `The file has more than ${bodyBytesMax} bytes.`, hint: 'Send it in parts.' })
  }
  const markdown = decodeUtf8(bytes)
  if (markdown === undefined) {
    return refuse(400, {
      error: 'The file is not UTF-8.',
      hint: 'Convert it, for instance with iconv -t utf-8.',
    })
  }
  if (markdown.trim() === '') return refuse(400, { error: 'The file is empty.', hint: usageHint })
  try {
    return answer(markdown, language)
  } catch (error) {
    // A thousand quotes within quotes: the library recurses, and the stack has an end.
    if (!(error instanceof RangeError)) throw error
    return refuse(422, { error: 'The file is nested too deeply.', hint: 'Send one with fewer levels.' })
  }
}

function answer(markdown: string, language: string): Response {
  return new Response(renderPage(markdown, { language }), {
    headers: {
      'content-type': 'text/html; charset=utf-8',
      // The second wall, should the renderer ever let something through: no script, frame or form runs.
      'content-security-policy':
        "default-src 'none'; style-src 'unsafe-inline'; img-src http: https:; base-uri 'none'; form-action 'none'",
      'x-content-type-options': 'nosniff',
    },
  })
}

/** The body whole, or undefined as soon as it is too long. */
async function readBounded(request: Request): Promise<Uint8Array | undefined> {
  const parts: Uint8Array[] = []
  let size = 0
  const reader = request.body?.getReader()
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
    size += part.value.byteLength
    if (size > bodyBytesMax) {
      await reader?.cancel()
      return undefined
    }
    parts.push(part.value)
  }
  const whole = new Uint8Array(size)
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.byteLength
  }
  return whole
}

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

function refuse(
  status: number,
  refusal: { error: string; field?: string; hint: string },
  headers: Record<string, string> = {},
): Response {
  return Response.json(refusal, { status, headers })
}
