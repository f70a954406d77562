import { expect, test } from 'vitest'
import { parseWrkOutput } from './wrk-output.ts'

/** What wrk 4.1.0 wrote, with `wrk.lua`. */
const good = `Running 1s test @ http://127.0.0.1:18931/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   671.01us    1.45ms  15.45ms   90.40%
    Req/Sec    36.54k    12.84k   50.51k    70.00%
  36344 requests in 1.00s, 4.30MB read
Requests/sec:  36243.71
Transfer/sec:      4.29MB
{"requests":36344,"durationUs":1002767,"p50Us":157,"p99Us":7051,"errors":{"connect":0,"read":0,"write":0,"timeout":0,"status":0}}
`

test('what wrk counted is read, to the microsecond', () => {
  expect(parseWrkOutput(good)).toEqual({
    requests: 36344,
    failures: 0,
    seconds: 1.002767,
    p50Us: 157,
    p99Us: 7051,
  })
})

test('answers of 4xx and 5xx are failures, and no requests', () => {
  const half = `  36510 requests in 1.01s, 4.61MB read
  Non-2xx or 3xx responses: 18255
Requests/sec:  36246.06
Transfer/sec:      4.58MB
{"requests":36510,"durationUs":1007282,"p50Us":123,"p99Us":5660,"errors":{"connect":0,"read":0,"write":0,"timeout":0,"status":18255}}
`
  expect(parseWrkOutput(half)).toMatchObject({ requests: 18255, failures: 18255 })
})

test('connections that broke are failures beside the answers', () => {
  const cut = `  32433 requests in 1.10s, 3.84MB read
  Socket errors: connect 0, read 33, write 0, timeout 0
Requests/sec:  29485.48
Transfer/sec:      3.49MB
{"requests":32433,"durationUs":1099965,"p50Us":143,"p99Us":26460,"errors":{"connect":0,"read":33,"write":0,"timeout":0,"status":0}}
`
  expect(parseWrkOutput(cut)).toMatchObject({ requests: 32433, failures: 33 })
})

test('without a summary there is no result', () => {
  const text = 'unable to connect to 127.0.0.1:1 Connection refused'
  expect(() => parseWrkOutput(text)).toThrow(text)
  expect(() => parseWrkOutput('{"requests":1}')).toThrow()
})
