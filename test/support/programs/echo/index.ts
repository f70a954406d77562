/**
 * The program that tests send things through: it says what it was asked, answers what it is told to, and misbehaves
 * on demand. One file, Web standards only.
 *
 * Asking back
 *   any other path            JSON: method, url, path, query, headers ([[name, value], …], lower case, equal names
 *                             joined), body { bytes, sha256 }; the body is held in memory
 *   /count                    JSON: bytes and chunks of the body, read as a stream and dropped
 *   /body                     the request's body, streamed back under its content-type
 *   /env                      JSON: env as it is, params included
 *   /instance                 JSON: id (random, one per process) and calls (how many /instance had), to tell instances apart
 *   /ignore                   200 "ignored" at once, the body unread
 *
 * Answering as told
 *   /answer?status=&header=&body=   that status (default 200), every `header=name:value` (repeat it at will), that body
 *   /bytes/<n>?chunk=         n bytes in chunks (default 65536); byte i is i mod 251
 *   /bytes/<n>?whole          the same at once, hence with a Content-Length (workerd drops one that a stream claims)
 *   /lines/<n>?everyMs=       n lines "line <i>\n", one each everyMs (default 10)
 *   /events/<n>?everyMs=      the same as server-sent events
 *   /headers/<n>              one header `x-large` of n bytes
 *   /wait/<ms>                "waited" after that time
 *   /fetch?url=               JSON: what fetch(url) gave: { status, text } or { error }
 *
 * Misbehaving
 *   /throw?message=           throws an Error (default "thrown on demand")
 *   /reject                   rejects with something that is no Error
 *   /break/<n>                sends n bytes, then breaks the body off; the head may be lost with a few bytes
 *   /loop                     never gives the thread back
 *   /loop-after/<n>           sends n bytes, then loops
 *   /hang                     waits, the thread free, for a day
 *   /never                    gives a promise that nothing will settle; workerd notices and fails the call
 *   /recurse                  calls itself without end
 *   /allocate/<MiB>?hold=     fills that much in array buffers, then answers; with hold it keeps them for later calls
 *   /heap                     fills the JavaScript heap without end
 *   /flood                    a body without end, as fast as it is taken
 *   /print/<n>?text=          console.log of that text (default "printed") n times, then answers
 *   /garbage?kind=            gives no Response: undefined (default), null, text, number, object
 */
export default {
  async fetch(request: Request, env: Readonly<Record<string, unknown>>): Promise<Response> {
    const url = new URL(request.url)
    const [name = '', argument = ''] = url.pathname.slice(1).split('/')
    const route = Object.hasOwn(routes, name) ? routes[name] : undefined
    return (route ?? describe)({ request, env, url, query: url.searchParams, count: Number(argument) })
  },
}

interface Call {
  readonly request: Request
  readonly env: Readonly<Record<string, unknown>>
  readonly url: URL
  readonly query: URLSearchParams
  /** The path's second segment. */
  readonly count: number
}

type Route = (call: Call) => Response | Promise<Response>

const routes: Readonly<Record<string, Route>> = {
  count: countBody,
  body: ({ request }) => new Response(request.body, { headers: contentTypeOf(request) }),
  env: ({ env }) => Response.json(env),
  instance: describeInstance,
  ignore: () => new Response('ignored'),

  answer: answerAsTold,
  bytes: sendBytes,
  lines: ({ count, query }) => sendLines({ count, query, type: 'text/plain', format: (i) => `line ${i}\n` }),
  events: ({ count, query }) =>
    sendLines({ count, query, type: 'text/event-stream', format: (i) => `id: ${i}\ndata: line ${i}\n\n` }),
  headers: ({ count }) => new Response(null, { headers: { 'x-large': 'x'.repeat(count) } }),
  wait: async ({ count }) => {
    await wait(count)
    return new Response('waited')
  },
  fetch: async ({ query }) => Response.json(await fetchAsTold(query.get('url') ?? '')),

  throw: ({ query }) => {
    throw new Error(query.get('message') ?? 'thrown on demand')
  },
  reject: () => Promise.reject('not an Error'),
  break: ({ count }) =>
    new Response(streamBytes({ count, finish: (controller) => controller.error(new Error('broken off')) })),
  loop,
  'loop-after': ({ count }) => new Response(streamBytes({ count, finish: loop })),
  hang: async () => {
    await wait(24 * 60 * 60 * 1000)
    return new Response('a day later')
  },
  never: () => new Promise(() => {}),
  recurse: (call) => recurse(call),
  allocate,
  heap: fillHeap,
  flood: () => new Response(streamBytes({ count: Number.POSITIVE_INFINITY })),
  print: ({ count, query }) => {
    for (let time = 0; time < count; time += 1) console.log(query.get('text') ?? 'printed')
    return new Response('printed')
  },
  garbage: ({ query }) => garbage[query.get('kind') ?? 'undefined'] as Response,
}

const garbage: Readonly<Record<string, unknown>> = {
  null: null,
  text: 'not a Response',
  number: 42,
  object: { status: 200 },
}

/** What one process remembers from call to call. */
const memory = { id: '', calls: 0, held: [] as Uint8Array[] }

async function describe({ request, url }: Call): Promise<Response> {
  const body = await request.arrayBuffer()
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', body))
  return Response.json({
    method: request.method,
    url: request.url,
    path: url.pathname,
    query: url.search,
    headers: [...request.headers],
    body: {
      bytes: body.byteLength,
      sha256: [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join(''),
    },
  })
}

async function countBody({ request }: Call): Promise<Response> {
  const reader = request.body?.getReader()
  let bytes = 0
  let chunks = 0
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
    bytes += part.value.byteLength
    chunks += 1
  }
  return Response.json({ bytes, chunks })
}

function contentTypeOf(request: Request): Record<string, string> {
  return { 'content-type': request.headers.get('content-type') ?? 'application/octet-stream' }
}

function describeInstance(): Response {
  // Not at the top of the module: workerd has no randomness before the first request.
  memory.id ||= crypto.randomUUID()
  memory.calls += 1
  return Response.json({ id: memory.id, calls: memory.calls })
}

function answerAsTold({ query }: Call): Response {
  const headers = new Headers()
  for (const header of query.getAll('header')) {
    const colon = header.indexOf(':')
    headers.append(header.slice(0, colon), header.slice(colon + 1))
  }
  return new Response(query.get('body'), { status: Number(query.get('status') ?? 200), headers })
}

function sendBytes({ count, query }: Call): Response {
  const headers = { 'content-type': 'application/octet-stream' }
  if (query.has('whole')) return new Response(makeBytes({ from: 0, count }), { headers })
  return new Response(streamBytes({ count, chunkBytes: Number(query.get('chunk') ?? 65_536) }), { headers })
}

/** Byte i is i mod 251, so that a lost, doubled or swapped chunk shows: 251 divides no usual chunk size. */
function makeBytes({ from, count }: { from: number; count: number }): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count)
  for (let i = 0; i < count; i += 1) bytes[i] = (from + i) % 251
  return bytes
}

function streamBytes({
  count,
  chunkBytes = 65_536,
  finish = (controller) => controller.close(),
}: {
  count: number
  chunkBytes?: number
  finish?: (controller: ReadableStreamDefaultController<Uint8Array>) => void
}): ReadableStream<Uint8Array> {
  let sent = 0
  return new ReadableStream({
    pull(controller) {
      if (sent >= count) return finish(controller)
      const chunk = makeBytes({ from: sent, count: Math.min(chunkBytes, count - sent) })
      sent += chunk.byteLength
      controller.enqueue(chunk)
    },
  })
}

function sendLines({
  count,
  query,
  type,
  format,
}: {
  count: number
  query: URLSearchParams
  type: string
  format: (index: number) => string
}): Response {
  const encoder = new TextEncoder()
  let index = 0
  const lines = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (index === count) return controller.close()
      if (index > 0) await wait(Number(query.get('everyMs') ?? 10))
      controller.enqueue(encoder.encode(format(index)))
      index += 1
    },
  })
  return new Response(lines, { headers: { 'content-type': type } })
}

async function fetchAsTold(url: string): Promise<object> {
  try {
    const response = await fetch(url)
    return { status: response.status, text: await response.text() }
  } catch (error) {
    return { error: String(error) }
  }
}

function loop(): never {
  for (;;);
}

function recurse(call: Call): Response {
  // Work after the call, so that no engine can turn it into a loop.
  const response = recurse(call)
  response.headers.set('x-depth', 'one more')
  return response
}

function allocate({ count, query }: Call): Response {
  const parts = Array.from({ length: count }, () => new Uint8Array(1024 * 1024).fill(1))
  if (query.has('hold')) memory.held.push(...parts)
  return new Response(`allocated ${parts.length} MiB`)
}

function fillHeap(): Response {
  const lists: number[][] = []
  for (let fill = 0; ; fill += 1) lists.push(new Array<number>(1024).fill(fill + 0.5))
}

function wait(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs))
}
