import acme from 'acme-client'
import { raceSignal } from '../../../protocol/base/signal.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'
import type { PemPair } from '../dev-authority.ts'
import { openAccount } from './account.ts'
import { type AcmeOptions, certificateHosts } from './acme-options.ts'
import { runDnsHook } from './run-dns-hook.ts'

export interface OrderDeps {
  /** What the authority is to find at `/.well-known/acme-challenge/<token>`. */
  readonly proofs: Map<string, string>
  /** For the account's file. */
  readonly dir: string
}

/**
 * Orders a certificate for the gateway's hosts, with a new key, and proves that they are its own.
 *
 * @throws ProtocolError `config_invalid` for a hook that cannot be run, else `certificate_unavailable`
 */
export async function orderCertificate(
  { proofs, dir }: OrderDeps,
  options: AcmeOptions,
  signal: AbortSignal,
): Promise<PemPair> {
  const { hook, directoryUrl } = options
  const hosts = certificateHosts(options)
  const [key, csr] = await acme.crypto.createCsr(
    { commonName: hosts[0] as string, altNames: hosts },
    await acme.crypto.createPrivateEcdsaKey(),
  )
  // Commands that put records into one zone are seldom made to run at the same time.
  let turn: Promise<void> = Promise.resolve()
  const inTurn = (action: 'add' | 'remove', host: string, value: string): Promise<void> => {
    signal.throwIfAborted()
    const record = { name: `_acme-challenge.${host}`, value }
    const run = turn.then(() => runDnsHook(hook ?? [], action, record))
    turn = run.catch(() => undefined)
    return run
  }
  const order = async (): Promise<string> => {
    const { url, key: accountKey } = await openAccount(options, dir)
    const client = new acme.Client({
      directoryUrl,
      accountKey,
      accountUrl: url,
      backoffMin: limits.acmePollDelayMsMin,
      backoffMax: limits.acmePollDelayMsMax,
      backoffAttempts: limits.acmePollsMax,
    })
    return client.auto({
      csr,
      termsOfServiceAgreed: true,
      challengePriority: [hook ? 'dns-01' : 'http-01'],
      // The authority looks from outside, which is what counts; from here the way may be another.
      skipChallengeVerification: true,
      async challengeCreateFn({ identifier }, { type, token }, proof) {
        if (type === 'http-01') proofs.set(token, proof)
        else await inTurn('add', identifier.value, proof)
      },
      async challengeRemoveFn({ identifier }, { type, token }, proof) {
        if (type === 'http-01') proofs.delete(token)
        else await inTurn('remove', identifier.value, proof)
      },
    })
  }
  try {
    // The library knows no signal: what it still does after one is not waited for.
    const cert = await raceSignal(
      order(),
      AbortSignal.any([signal, AbortSignal.timeout(limits.acmeOrderTimeoutMs)]),
    )
    return { cert, key: key.toString() }
  } catch (error) {
    if (error instanceof ProtocolError) throw error
    signal.throwIfAborted()
    throw new ProtocolError(
      'certificate_unavailable',
      `${new URL(directoryUrl).host} gave no certificate: ${String((error as Error).message).slice(0, 500)}.`,
      {
        hint: hook
          ? 'Check that the hook puts TXT records that the world can look up.'
          : 'Check that port 80 of each host leads to --http-port of this gateway.',
        cause: error,
      },
    )
  }
}
