import { lookup as systemLookup } from 'node:dns'
import type { LookupFunction } from 'node:net'

/** Resolves `*.localhost` to 127.0.0.1 (RFC 6761), which Node leaves to a system that often does not; others as usual. */
export const loopbackLookup: LookupFunction = (hostname, options, callback) => {
  if (!hostname.toLowerCase().endsWith('.localhost')) {
    systemLookup(hostname, options, callback)
    return
  }
  const address = '127.0.0.1'
  process.nextTick(() => {
    if (options.all) callback(null, [{ address, family: 4 }])
    else callback(null, address, 4)
  })
}
