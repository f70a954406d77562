import { join, relative } from 'node:path'
import { formatUsdc } from '../protocol/usdc.ts'
import type { Demonstration } from './demonstration/demonstrate.ts'
import { type DeployedExample, namedExample } from './examples.ts'
import type { DevMarket } from './market.ts'

export interface Summary {
  readonly market: DevMarket
  readonly deployed: readonly DeployedExample[]
  readonly demonstrations: readonly Demonstration[]
  /** The CID that all five providers serve, where they are there. */
  readonly swarm: string | undefined
  /** Whether the market goes on, so that there is something to try. */
  readonly isStaying: boolean
  /** The directory in which the person who reads this types. */
  readonly cwd: string
}

/** What runs, what was shown, and the lines to try; each line works when pasted in `cwd`. */
export function describeMarketForPeople({
  market,
  deployed,
  demonstrations,
  swarm,
  isStaying,
  cwd,
}: Summary): string {
  const { gateway, chain, contracts, providers } = market
  const { alice } = providers
  const running = [
    `gateway     ${gateway.url.origin}`,
    `chain       ${chain.rpcUrl.origin}  (id ${chain.chainId})`,
    `escrow      ${contracts.escrow}`,
    `registry    ${contracts.registry}`,
    `alice       http://alice.${gateway.domain}/  at ${alice.server}`,
    `bob         http://bob.${gateway.domain}/  behind a tunnel, no listening port`,
  ]
  const shown = demonstrations.map(
    ({ provider, paidBy, answer, settledUsdc }) =>
      `${provider.padEnd(10)}  factor(600) = ${answer}, paid by ${paidBy}; settled on chain: ${formatUsdc(settledUsdc)} USDC`,
  )
  const walls =
    alice.info.tier === 'sandbox'
      ? []
      : [
          '',
          'bubblewrap is missing here, so programs run without a kernel sandbox: for this development chain only.',
        ]
  const parts = ['Running', ...indent(running), ...walls, '', 'Shown', ...indent(shown)]
  if (isStaying)
    parts.push(
      '',
      'Try, from this folder',
      ...indent([...linesToTry(market, deployed, cwd), ...swarmLines(market, swarm)]),
      '',
      'Ctrl-C stops everything.',
    )
  return parts.join('\n')
}

function linesToTry({ gateway }: DevMarket, deployed: readonly DeployedExample[], cwd: string): string[] {
  const url = (name: string, provider: string) =>
    `http://${provider}.${gateway.domain}/${deployed.find((one) => one.name === name)?.cid}`
  const sample = (path: string) => `@${pathFrom(cwd, join(import.meta.dirname, '..', 'examples', path))}`
  return [
    `curl -d '{"num":600}' ${url('factor', 'alice')}/`,
    `curl -d '{"num":600}' ${url('factor', 'bob')}/`,
    `curl --data-binary ${sample('markdown/sample.md')} ${url('markdown', 'alice')}/`,
    `curl --data-binary ${sample('csv-stats/sample.csv')} ${url('csv-stats', 'bob')}/`,
    `curl '${url('greet', 'alice')}/hello?name=Ada'`,
    `curl 'http://${namedExample}.${gateway.domain}/hello?name=Ada'`,
    `curl --data-binary ${sample('thumbnail/sample.jpg')} -o small.png ${url('thumbnail', 'bob')}/`,
    `curl -d 'SELECT item, count(*) FROM orders GROUP BY item' ${url('sqlite', 'alice')}/`,
    `curl -N '${url('sse-clock', 'bob')}/?every=250&count=4&zone=Asia/Tbilisi'`,
    `curl http://alice.${gateway.domain}/`,
    ...(deployed.some(({ name }) => name === 'port-go') ? [`curl '${url('port-go', 'bob')}?num=600'`] : []),
    `npx khachapuri call ${url('paid-factor', 'alice')}/ -d '{"num":97}' --voucher --account payer`,
    'npx khachapuri balance',
    'npx khachapuri init hello && npx khachapuri deploy hello --provider alice',
  ]
}

/** Asks three of the five, by a gateway that is trusted, and by one that is checked. */
function swarmLines({ gateway }: DevMarket, cid: string | undefined): string[] {
  if (cid === undefined) return []
  const url = `http://any.${gateway.domain}/${cid}/`
  return [
    `curl -i -H 'Khachapuri-Swarm: n=3, k=2, timeout=3' -d '{"num":600}' ${url}`,
    `npx khachapuri swarm call ${url} --n 5 --k 3 -d '{"num":600}' -o out.json && npx khachapuri verify-swarm out.json`,
  ]
}

/** The short way to a file, where there is one. */
function pathFrom(cwd: string, path: string): string {
  const short = relative(cwd, path)
  return short.startsWith('..') ? path : short
}

const indent = (lines: readonly string[]) => lines.map((line) => `  ${line}`)
