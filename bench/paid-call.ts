import { join } from 'node:path'
import { zeroHash } from 'viem'
import { anyDeployment, signPass } from '../protocol/pass.ts'
import { parseUsdc } from '../protocol/usdc.ts'
import { signVoucher } from '../protocol/voucher.ts'
import { formatVoucherToken, signVoucherAccess, voucherHeader } from '../protocol/voucher-token.ts'
import { compareTargets } from './compare-targets.ts'
import { helloDir, type ProviderCall, providerTarget } from './hello.ts'
import type { BenchMarket, ProviderName, RunningProvider } from './market.ts'
import type { Measurement } from './measurement.ts'
import { openMemoryDir } from './memory-dir.ts'
import { startProcess } from './processes.ts'
import type { UnpaidOptions } from './unpaid-process.ts'

/** A warm call, paid in each of the ways that a ledger keeps, beside the same server with payment switched off. */
export const paidCall: Measurement = {
  name: 'paid-call',
  title: 'What payment costs a warm call',
  async run(context, signal) {
    const market = await context.market()
    const alice = await market.provider('alice')
    await using parts = new AsyncDisposableStack()
    const memoryDir = await openMemoryDir(parts)
    const dave = memoryDir && parts.use(await market.startProvider('dave', { dir: memoryDir }))
    const providers = ['alice' as const, ...(dave ? ['dave' as const] : [])]
    const deployment = { programDir: helloDir, providers, payer: 'any', isPublic: true } as const
    const cid = await market.deploy(deployment, signal)
    const unpaid = parts.use(await startUnpaid({ market, dir: join(context.dir, 'unpaid') }, signal))
    const peer = providerTarget(unpaid, { name: 'payment off', cid })
    const targets = [peer, ...(await targetsAt({ market, name: 'alice', provider: alice }, { cid }))]
    if (dave)
      targets.push(
        ...(await targetsAt({ market, name: 'dave', provider: dave }, { cid, suffix: ', books in memory' })),
      )
    const { tables } = await compareTargets(context, { targets, peer }, signal)
    return {
      tables,
      remarks: [
        '“Payment off” is the same listener, sandbox and relay in a process of the bench: nobody is asked who pays, ' +
          'nothing is reserved, charged or kept. Pass and voucher are one token each for the whole run, so their ' +
          'signatures are checked once: a voucher’s window is as large as its signer likes. Each way to pay includes ' +
          'the settlements of its calls, once a minute.',
      ],
    }
  },
}

interface Payee {
  readonly market: BenchMarket
  readonly name: ProviderName
  readonly provider: RunningProvider
}

async function targetsAt(
  { market, name, provider }: Payee,
  { cid, suffix = '' }: { readonly cid: string; readonly suffix?: string },
) {
  const ways: Record<string, ProviderCall['headers']> = {
    owner: {},
    pass: { authorization: `Bearer ${await createPass(market, name)}` },
    voucher: { [voucherHeader]: await createVoucher(market, name) },
  }
  return Object.entries(ways).map(([way, headers = {}]) =>
    providerTarget(provider, { name: way + suffix, cid, headers }),
  )
}

const maxAmount = parseUsdc('900000')

function createPass({ market, payer, addressOf }: BenchMarket, name: ProviderName): Promise<string> {
  const pass = {
    ...{ payer: payer.address, providers: [addressOf(name)], deployment: anyDeployment },
    ...{ maxPricePerCall: parseUsdc('0.001'), maxSpend: maxAmount },
    ...{ validAfter: 0, validBefore: 4_000_000_000, id: zeroHash },
  }
  return signPass(pass, payer, market)
}

async function createVoucher({ market, payer, addressOf }: BenchMarket, name: ProviderName): Promise<string> {
  const scope = { payer: payer.address, provider: addressOf(name), epoch: 0 }
  const voucher = { ...scope, maxAmount, maxCalls: 2 ** 32 - 1 }
  return formatVoucherToken({
    signed: { voucher, signer: payer.address, signature: await signVoucher(voucher, payer, market) },
    access: await signVoucherAccess(scope, payer, market),
  })
}

/** Serves the deployments of alice for nothing; it fetches them from the gateway. */
async function startUnpaid({ market, dir }: { market: BenchMarket; dir: string }, signal: AbortSignal) {
  const options: UnpaidOptions = {
    ...{ dir, market: market.market, provider: market.addressOf('alice'), keeper: market.gateway.url },
  }
  const args = [join(import.meta.dirname, 'unpaid-process.ts'), JSON.stringify(options)]
  const started = await startProcess({ command: process.execPath, args }, signal)
  return { ...started, server: `http://127.0.0.1:${started.facts['port']}` }
}
