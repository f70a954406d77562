import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root, startProcess } from '../support/child-process.ts'
import { mayUnshareNetwork } from '../support/namespaces.ts'

const canUnshare = await mayUnshareNetwork()

// What the kernel has accepted for a listener that closes, it otherwise resets: docs/operate-gateway.md.
const inOwnNetwork = [
  'unshare',
  '--net',
  'sh',
  '-c',
  'ip link set lo up && echo 1 > /proc/sys/net/ipv4/tcp_migrate_req && exec "$@"',
  'sh',
]

test.skipIf(!canUnshare)(
  'a gateway hands its port over to the next one under load, and no request fails',
  async () => {
    const script = join(root, 'test', 'support', 'hand-over.ts')
    await using run = await startProcess([...inOwnNetwork, process.execPath, script], { cwd: tmpdir() })
    expect(await run.ended).toBe(0)
    const { outcomes, whileItLeft } = JSON.parse(run.stdout())
    expect(Object.keys(outcomes)).toEqual(['ok'])
    expect(whileItLeft).toBeGreaterThan(0)
  },
)
