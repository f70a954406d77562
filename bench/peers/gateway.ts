import { systemClock } from '../../protocol/base/clock.ts'
import { tuneHeap } from '../../protocol/base/tune-heap.ts'
import { openGatewayFront } from '../../test/support/gateway-front.ts'

/** A gateway that knows one name, `peer`, at the address that it is given: no chain, no money, the path of a call. */
// As the command line does.
tuneHeap()
const [upstream = ''] = process.argv.slice(2)
const { gateway } = await openGatewayFront({ peer: upstream }, { clock: systemClock, logsCalls: false })
console.log(JSON.stringify({ port: gateway.port, domain: gateway.domain }))
// Ends well, so that a profile is written where one is asked for.
process.on('SIGTERM', () => process.exit(0))
