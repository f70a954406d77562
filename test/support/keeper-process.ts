/** A keeper in a process of its own, so that a test can kill it. Arguments: its directory. Prints its origin. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { systemClock } from '../../protocol/base/clock.ts'
import { createLog } from '../../protocol/base/log.ts'
import { createKeeper } from '../../protocol/ipfs/keeper.ts'
import { openBlockstore } from '../../protocol/ipfs/open-blockstore.ts'
import { market } from './keeper-server.ts'

const dir = process.argv[2]!
const server = createServer()
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const keeper = await createKeeper(
  {
    blockstore: await openBlockstore(join(dir, 'blocks')),
    clock: systemClock,
    log: createLog({ level: 'silent' }),
  },
  { dir: join(dir, 'keeper'), audience: () => origin, market },
)
server.on('request', getRequestListener(keeper.routes().fetch))
process.stdout.write(`${origin}\n`)
