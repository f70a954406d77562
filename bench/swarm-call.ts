import { gatewayTarget, helloDir } from './hello.ts'
import type { Target } from './load.ts'
import type { ProviderName } from './market.ts'
import type { Measurement } from './measurement.ts'
import { median } from './median.ts'
import { warmUp } from './rounds.ts'

const names: readonly ProviderName[] = ['alice', 'bob', 'carol', 'dave', 'erin']

/** One call to five providers, beside one call to each, and beside five at once: on few cores they share them either way. */
export const swarmCall: Measurement = {
  name: 'swarm-call',
  title: 'Call to a swarm of five',
  async run({ load, market: openMarket, rounds, seconds }, signal) {
    const market = await openMarket()
    const { gateway } = market
    const running = await Promise.all(names.map((name) => market.provider(name)))
    const cid = await market.deploy({ programDir: helloDir, providers: names }, signal)
    const singles = names.map((name, index) =>
      gatewayTarget({ gateway, provider: running[index]! }, { name, subdomain: name, cid }),
    )
    const processes = [
      { role: 'gateway', pid: gateway.pid },
      ...running.map(({ pid }) => ({ role: 'providers', pid, childrenRole: 'programs' })),
    ]
    const [first] = singles as [Target]
    const hosts = singles.map(({ host }) => host as string)
    const atOnce: Target = { ...first, name: 'five calls at once', hosts, processes }
    const swarm: Target = {
      ...{ name: 'swarm of five', url: first.url, host: `any.${gateway.domain}`, processes },
      headers: { 'khachapuri-swarm': 'n=5, k=3, timeout=10' },
    }
    // The gateway draws among those whom it knows.
    await warmUp(load, [...singles, atOnce, swarm], { seconds: Math.min(1, seconds) }, signal)
    const found = { slowest: [] as number[], atOnce: [] as number[], swarm: [] as number[] }
    const cpu = { atOnce: [] as Times[], swarm: [] as Times[] }
    for (let round = 0; round < rounds; round += 1) {
      signal.throwIfAborted()
      const alone: number[] = []
      for (const target of round % 2 === 0 ? singles : singles.toReversed())
        alone.push((await load.run(target, { connections: 1, seconds: seconds / 5 })).p50Us)
      const together = await load.run(atOnce, { connections: 5, seconds })
      const swarmed = await load.run(swarm, { connections: 1, seconds })
      found.slowest.push(Math.max(...alone))
      found.atOnce.push(together.p50Us)
      found.swarm.push(swarmed.p50Us)
      cpu.atOnce.push(together.cpuUs)
      cpu.swarm.push(swarmed.cpuUs)
    }
    const ratio = (to: readonly number[]) =>
      median(found.swarm.map((one, index) => one / (to[index] ?? Number.NaN)))
    return {
      tables: [
        {
          caption: '',
          columns: ['', 'p50 µs', 'the swarm beside it, ×'],
          rows: [
            ['one call to the slowest of the five', median(found.slowest), ratio(found.slowest)],
            ['five calls at once', median(found.atOnce), ratio(found.atOnce)],
            ['swarm of five', median(found.swarm), undefined],
          ],
        },
      ],
      remarks: [
        `Processor time of a call, in µs: ${describe(cpu.swarm)} for a swarm; ${describe(cpu.atOnce)} for one of five at once. The cores of this machine are shared by all of them: with fewer than six, a swarm waits for its own members.`,
      ],
    }
  },
}

type Times = Readonly<Record<string, number>>

function describe(times: readonly Times[]): string {
  const roles = Object.keys(times[0] ?? {})
  return roles.map((role) => `${role} ${Math.round(median(times.map((one) => one[role] ?? 0)))}`).join(', ')
}
