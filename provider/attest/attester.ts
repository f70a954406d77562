import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { AttestKey } from '../../protocol/attestation.ts'
import type { Log } from '../../protocol/base/log.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProgramId } from '../../protocol/program.ts'
import { createFairQueue } from '../admission/fair-queue.ts'
import { prepareAttestKey } from './attest-key.ts'
import type { AttestJob, AttestWord } from './attest-worker.ts'

/** Signs what programs attest, each under its own programId. Disposing ends its thread; what waits fails. */
export interface Attester extends AsyncDisposable {
  /** What the provider publishes. */
  key(): Promise<AttestKey>
  /**
   * Programs are served in turn, so that one with many messages waits for itself.
   *
   * @throws ProtocolError `attest_busy` where too many messages wait
   */
  sign(programId: ProgramId, message: Uint8Array): Promise<Uint8Array>
}

interface WaitingJob extends AttestJob {
  readonly resolve: (signature: Uint8Array) => void
  readonly reject: (error: unknown) => void
}

/** A thread that runs, and what it has been given. */
interface Signer {
  readonly worker: Worker
  readonly key: Promise<AttestKey>
  current: WaitingJob | undefined
  isOpen: boolean
}

/**
 * Makes the key in `dir` where there is none. The thread is started when somebody first asks for it, and again after it failed.
 *
 * @throws ProtocolError `config_invalid` for a file that holds no key
 */
export async function openAttester({ log }: { log: Log }, dir: string): Promise<Attester> {
  const keyPath = join(dir, 'attest-key.hex')
  await prepareAttestKey(keyPath)
  const waiting = createFairQueue<WaitingJob>({
    sizeMax: limits.attestWaitingMax,
    laneSizeMax: limits.attestWaitingPerProgramMax,
  })
  let signer: Signer | undefined
  let isClosed = false

  function start(): Signer {
    if (isClosed) throw stopped()
    // Published, both files are JavaScript.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    const worker = new Worker(new URL(`./attest-worker.${extension}`, import.meta.url), {
      workerData: { keyPath },
      name: 'attest',
    })
    const opened = Promise.withResolvers<AttestKey>()
    // Who wants the key hears of a failure; the others hear of their own.
    opened.promise.catch(() => undefined)
    const started: Signer = { worker, key: opened.promise, current: undefined, isOpen: false }
    const fail = (error: unknown) => {
      if (signer !== started) return
      signer = undefined
      if (!isClosed) log.error('attest_thread_failed', { error: String(error) })
      opened.reject(stopped(error))
      started.current?.reject(stopped(error))
      for (let job = waiting.take(anyJob); job; job = waiting.take(anyJob)) job.reject(stopped(error))
    }
    worker.on('message', (word: AttestWord) => {
      if (word.kind === 'opened') {
        started.isOpen = true
        opened.resolve(word.key)
      } else {
        started.current?.resolve(word.signature)
        started.current = undefined
      }
      giveNext(started)
    })
    worker.once('error', fail)
    worker.once('exit', () => fail('it ended'))
    return started
  }

  function giveNext(to: Signer): void {
    if (!to.isOpen || to.current) return
    to.current = waiting.take(anyJob)
    if (!to.current) return
    const { programId, message } = to.current
    to.worker.postMessage({ programId, message } satisfies AttestJob)
  }

  function running(): Signer {
    signer ??= start()
    return signer
  }

  return {
    key: async () => running().key,
    async sign(programId, message) {
      const to = running()
      const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
      if (!waiting.add(programId, { programId, message, resolve, reject })) throw busy()
      giveNext(to)
      return promise
    },
    async [Symbol.asyncDispose]() {
      isClosed = true
      await signer?.worker.terminate()
    },
  }
}

const anyJob = () => true

const busy = () =>
  new ProtocolError('attest_busy', 'Too many messages wait to be signed.', { hint: 'Send the call again.' })

const stopped = (cause?: unknown) =>
  new ProtocolError('sandbox_unavailable', 'The provider cannot sign now.', {
    hint: 'Send the call again.',
    cause,
  })
