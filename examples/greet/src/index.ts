import { formatBase64Url, parseBase64Url } from './base64url.ts'

interface Env {
  /** Secret, from the deployment's env. */
  readonly GREETING_SECRET?: string
  /** Public, from the manifest. */
  readonly params?: { readonly greetings?: Readonly<Record<string, string>> }
}

/** Greets, and signs the greeting with a secret that never leaves the program: `GET /hello?name=Ada`, `POST /verify`. */
export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url)
    const route = routes.get(pathname)
    if (route === undefined) return refuse(404, { error: `There is nothing at ${pathname}.`, hint: usage })
    if (!route.methods.includes(request.method)) {
      const refusal = { error: `${request.method} is not possible at ${pathname}.`, hint: usage }
      return refuse(405, refusal, { allow: route.methods.join(', ') })
    }

    // Without a secret nothing is signed at all: a well-known default key would look like a signature and prove nothing.
    const secret = env.GREETING_SECRET ?? ''
    if (secret.length < secretLengthMin) return refuse(500, missingSecret(secret))
    const key = await importKey(secret)
    return route.answer({ request, query: searchParams, key, greetings: env.params?.greetings ?? {} })
  },
}

const usage = 'Send GET /hello?name=Ada, or POST /verify with what it answered.'
const nameLengthMax = 100
const bodyBytesMax = 4096
const secretLengthMin = 16

/** What is wrong with a request, in words for its sender. */
interface Refusal {
  readonly error: string
  readonly field?: string
  readonly hint: string
}

interface Call {
  readonly request: Request
  readonly query: URLSearchParams
  readonly key: CryptoKey
  readonly greetings: Readonly<Record<string, string>>
}

interface Route {
  readonly methods: readonly string[]
  readonly answer: (call: Call) => Promise<Response>
}

const routes: ReadonlyMap<string, Route> = new Map([
  ['/hello', { methods: ['GET', 'HEAD'], answer: greet }],
  ['/verify', { methods: ['POST'], answer: verify }],
])

async function greet({ query, key, greetings }: Call): Promise<Response> {
  const name = (query.get('name') ?? '').trim().normalize('NFC')
  if (name === '' || [...name].length > nameLengthMax || /\p{Cc}/u.test(name)) {
    return refuse(400, {
      error: `"name" is not a name of 1–${nameLengthMax} characters.`,
      field: 'name',
      hint: usage,
    })
  }
  const language = query.get('language') ?? Object.keys(greetings)[0] ?? 'en'
  const salutation = Object.hasOwn(greetings, language) ? greetings[language] : undefined
  if (salutation === undefined) {
    const hint = `Choose one of: ${Object.keys(greetings).join(', ') || 'none; the params name no greetings'}.`
    return refuse(400, { error: '"language" is not one that this program speaks.', field: 'language', hint })
  }
  const greeting = `${salutation}, ${name}!`
  const signature = await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(greeting))
  return Response.json({ greeting, signature: formatBase64Url(new Uint8Array(signature)) })
}

async function verify({ request, key }: Call): Promise<Response> {
  const body = await readJson(request)
  if (body === undefined) {
    return refuse(400, { error: `The body is not JSON of at most ${bodyBytesMax} bytes.`, hint: usage })
  }
  const { greeting, signature } = body
  if (typeof greeting !== 'string') {
    return refuse(400, { error: '"greeting" is not a string.', field: 'greeting', hint: usage })
  }
  const bytes = typeof signature === 'string' ? parseBase64Url(signature) : undefined
  if (bytes === undefined) {
    return refuse(400, { error: '"signature" is not Base64 for URLs.', field: 'signature', hint: usage })
  }
  // Compares in constant time, so that a signature cannot be guessed byte by byte.
  const valid = await crypto.subtle.verify('HMAC', key, bytes, new TextEncoder().encode(greeting))
  return Response.json({ valid })
}

function importKey(secret: string): Promise<CryptoKey> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  return crypto.subtle.importKey('raw', new TextEncoder().encode(secret), algorithm, false, [
    'sign',
    'verify',
  ])
}

function missingSecret(secret: string): Refusal {
  const state = secret === '' ? 'is not set' : `has fewer than ${secretLengthMin} characters`
  return {
    error: `The program cannot sign: its secret GREETING_SECRET ${state}.`,
    hint: 'Its owner puts GREETING_SECRET=… into .env and deploys it again.',
  }
}

/** The body as an object, or undefined when it is too long or something else. */
async function readJson(request: Request): Promise<Record<string, unknown> | undefined> {
  const text = await readText(request)
  try {
    const value: unknown = JSON.parse(text ?? '')
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    return value as Record<string, unknown>
  } catch {
    return undefined
  }
}

async function readText(request: Request): Promise<string | undefined> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  const reader = request.body?.getReader()
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
    bytes += part.value.byteLength
    if (bytes > bodyBytesMax) {
      await reader?.cancel()
      return undefined
    }
    text += decoder.decode(part.value, { stream: true })
  }
  return text + decoder.decode()
}

function refuse(status: number, refusal: Refusal, headers: Record<string, string> = {}): Response {
  return Response.json(refusal, { status, headers })
}
