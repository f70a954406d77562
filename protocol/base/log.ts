import { pino } from 'pino'

/** Facts of a log line. Never a key, a secret, a pass or a body: whoever reads logs is a stranger to payers. */
export type LogFacts = Readonly<Record<string, unknown>>

/** Events are nouns and verbs in the past: `tunnel_lost`, `call_finished`. */
export interface Log {
  debug(event: string, facts?: LogFacts): void
  info(event: string, facts?: LogFacts): void
  warn(event: string, facts?: LogFacts): void
  error(event: string, facts?: LogFacts): void
  /** The same log with facts that stand on every line. */
  with(facts: LogFacts): Log
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** One JSON object per line on standard error, so that standard output stays for answers. */
export function createLog({ level, facts = {} }: { level: LogLevel; facts?: LogFacts }): Log {
  const wrap = (logger: pino.Logger): Log => ({
    debug: (event, f = {}) => logger.debug(f, event),
    info: (event, f = {}) => logger.info(f, event),
    warn: (event, f = {}) => logger.warn(f, event),
    error: (event, f = {}) => logger.error(f, event),
    with: (f) => wrap(logger.child(f)),
  })
  const options = {
    level,
    messageKey: 'event',
    base: facts,
    formatters: { level: (l: string) => ({ level: l }) },
    serializers: {},
  }
  return wrap(pino(options, pino.destination({ dest: 2, sync: true })))
}

/** A log that keeps its lines, for tests that ask what was said. */
export interface TestLog extends Log {
  readonly lines: readonly { readonly level: string; readonly event: string; readonly facts: LogFacts }[]
}

export function createTestLog(): TestLog {
  const lines: { level: string; event: string; facts: LogFacts }[] = []
  const wrap = (bound: LogFacts): Log => ({
    debug: (event, f = {}) => void lines.push({ level: 'debug', event, facts: { ...bound, ...f } }),
    info: (event, f = {}) => void lines.push({ level: 'info', event, facts: { ...bound, ...f } }),
    warn: (event, f = {}) => void lines.push({ level: 'warn', event, facts: { ...bound, ...f } }),
    error: (event, f = {}) => void lines.push({ level: 'error', event, facts: { ...bound, ...f } }),
    with: (f) => wrap({ ...bound, ...f }),
  })
  return { ...wrap({}), lines }
}
