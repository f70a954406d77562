import { setFlagsFromString } from 'node:v8'

/**
 * For a process that serves calls; before it does anything else. V8 watches which literals and constructors make objects that
 * live long, and makes what comes from them old from its birth: the tables of listeners of a stream, for one, because those of
 * the first sockets stay. Whatever a call hangs on such a table then outlives all small collections, as if it were in use, and
 * the next large one has to find it: a quarter of the processor time of a tunnel's client.
 */
export function tuneHeap(): void {
  setFlagsFromString('--no-allocation-site-pretenuring')
}
