export interface Settings {
  readonly everyMs: number
  readonly count: number
  /** An IANA time zone. */
  readonly zone: string
}

/** What is wrong with a request, in words for its sender. */
export interface Refusal {
  readonly error: string
  readonly field: string
  readonly hint: string
}

/** A call lasts 65 s at most, as the manifest says. */
const durationMsMax = 60_000

export function parseQuery(query: URLSearchParams): Settings | Refusal {
  const everyMs = parseNumber(query, 'every', { min: 10, max: 10_000, otherwise: 1_000 })
  if (typeof everyMs !== 'number') return everyMs
  const count = parseNumber(query, 'count', { min: 1, max: 1_000, otherwise: 10 })
  if (typeof count !== 'number') return count
  if ((count - 1) * everyMs > durationMsMax) {
    return {
      error: `${count} ticks of ${everyMs} ms take more than ${durationMsMax / 1000} s.`,
      field: 'count',
      hint: 'Ask for fewer; an EventSource comes back by itself.',
    }
  }
  const zone = parseZone(query.get('zone') ?? 'UTC')
  return typeof zone === 'string' ? { everyMs, count, zone } : zone
}

function parseNumber(
  query: URLSearchParams,
  field: string,
  { min, max, otherwise }: { min: number; max: number; otherwise: number },
): number | Refusal {
  const text = query.get(field)
  if (text === null) return otherwise
  const number = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN
  if (number >= min && number <= max) return number
  return {
    error: `"${field}" is not within ${min} … ${max}.`,
    field,
    hint: `Leave it out for ${otherwise}.`,
  }
}

function parseZone(text: string): string | Refusal {
  const name = text.slice(0, 64)
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone
  } catch {
    return {
      error: `"${name}" is no time zone.`,
      field: 'zone',
      hint: 'Such as UTC, Asia/Tbilisi or America/New_York.',
    }
  }
}
