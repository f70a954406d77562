import { parseQuery, type Settings } from './settings.ts'

/**
 * A clock that ticks as Server-Sent Events: `GET /?every=1000&count=10&zone=Asia/Tbilisi`. An `EventSource` that lost its
 * connection says the last tick that it saw, and gets those that are missing.
 */
export default {
  fetch(request: Request): Response {
    const url = new URL(request.url)
    if (url.pathname !== '/')
      return refuse(404, { error: `There is nothing at ${url.pathname}.`, hint: usage })
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return refuse(405, { error: `${request.method} is not possible here.`, hint: usage }, { allow })
    }
    const settings = parseQuery(url.searchParams)
    if ('error' in settings) return refuse(400, settings)
    const seen = readLastEventId(request.headers.get('last-event-id'), settings.count)
    // 204 is how a server tells an EventSource not to come back (HTML, section 9.2.2).
    if (seen >= settings.count) return new Response(null, { status: 204 })
    const body = request.method === 'HEAD' ? null : tick(settings, seen)
    return new Response(body, {
      headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' },
    })
  },
}

const allow = 'GET, HEAD'
const usage = 'Send GET /?every=1000&count=10&zone=UTC.'

/** The number of a tick that was seen; 0 for anything that is none. */
function readLastEventId(id: string | null, count: number): number {
  return id !== null && /^\d{1,4}$/.test(id) ? Math.min(Number(id), count) : 0
}

/** Ticks on time however late the one before was, and stops when nobody listens any more. */
function tick({ everyMs, count, zone }: Settings, seen: number): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  const format = new Intl.DateTimeFormat('en-GB', { dateStyle: 'short', timeStyle: 'medium', timeZone: zone })
  let startMs: number | undefined
  let number = seen
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const isFirst = startMs === undefined
        startMs ??= Date.now()
        const dueMs = startMs + (number - seen) * everyMs
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - Date.now())))
        number++
        const now = new Date()
        const data = JSON.stringify({
          tick: number,
          of: count,
          utc: now.toISOString(),
          local: format.format(now),
          zone,
        })
        // How long to wait before coming back, once.
        const retry = isFirst ? `retry: ${everyMs}\n` : ''
        controller.enqueue(encoder.encode(`${retry}id: ${number}\nevent: tick\ndata: ${data}\n\n`))
        if (number === count) controller.close()
      },
    },
    // Nothing is made before somebody wants it: a tick says the time at which it leaves.
    { highWaterMark: 0 },
  )
}

function refuse(status: number, refusal: object, headers: Record<string, string> = {}): Response {
  return Response.json(refusal, { status, headers })
}
