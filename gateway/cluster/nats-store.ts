import { randomBytes } from 'node:crypto'
import { type KV, Kvm } from '@nats-io/kv'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'

/** What the gateways of a cluster tell each other: small values by name, seen by all. */
export interface ClusterStore extends AsyncDisposable {
  /** 32 bytes that all gateways of the cluster know, and nobody else: who can read them could change the routes, too. */
  readonly secret: Uint8Array
  put(key: string, value: string): Promise<void>
  delete(key: string): Promise<void>
  /** Of a value, as the server has it. */
  readonly valueBytesMax: number
  /** Whether the store can be heard at the moment. */
  isConnected(): boolean
  /** How often it could not be heard, so far. */
  losses(): number
  /**
   * Takes the marks of what was taken away for good where they are older than this, and values under `passing` keys, too.
   * Whoever was cut off for longer than that does not hear of them.
   */
  purge(ageMs: number, isPassing: (key: string) => boolean): Promise<void>
  /** Hears of each value that is there, and of each change; `value` is undefined for one that was taken away. */
  watch(onEntry: (key: string, value: string | undefined, facts: { readonly isNew: boolean }) => void): void
}

const bucket = 'khachapuri_gateways'

/**
 * Opens a bucket of NATS JetStream.
 *
 * @param servers - `nats://host:port`, with user and password where they are needed.
 * @throws ProtocolError `config_invalid` where it cannot be reached at the start; later it is tried again for ever
 */
export async function openNatsStore(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  { servers }: { readonly servers: readonly string[] },
): Promise<ClusterStore> {
  const connection = await open(servers)
  try {
    const kv = await new Kvm(connection).create(bucket, { history: 1, replicas: 1 })
    const secret = await shareSecret(kv)
    return createStore({ connection, kv, secret, log, clock })
  } catch (cause) {
    await connection.close()
    throw new ProtocolError('config_invalid', `NATS keeps no values: ${String((cause as Error).message)}.`, {
      hint: 'Start it with JetStream: nats-server -js.',
      cause,
    })
  }
}

async function open(servers: readonly string[]): Promise<NatsConnection> {
  try {
    return await connect({
      servers: [...servers],
      maxReconnectAttempts: -1,
      reconnectTimeWait: limits.clusterHeartbeatMs,
      timeout: limits.connectTimeoutMs,
    })
  } catch (cause) {
    // Not the URL, which may have a password in it.
    throw new ProtocolError(
      'config_invalid',
      `NATS cannot be reached: ${String((cause as Error).message)}.`,
      {
        hint: 'Check --cluster, and that nats-server runs.',
        cause,
      },
    )
  }
}

/** The first gateway makes it; all take what is there. */
async function shareSecret(kv: KV): Promise<Uint8Array> {
  const made = randomBytes(32)
  await kv.create('secret', made).catch(() => undefined)
  const entry = await kv.get('secret')
  if (entry?.value.length === 32) return entry.value
  throw new Error('the secret of the cluster is not there')
}

/** Not by key alone: what somebody puts there at this moment is to stay. */
async function purgeUpTo(connection: NatsConnection, key: string, revision: number): Promise<void> {
  const asked = { filter: `$KV.${bucket}.${key}`, seq: revision + 1 }
  const answer = await connection.request(`$JS.API.STREAM.PURGE.KV_${bucket}`, JSON.stringify(asked), {
    timeout: limits.clusterPurgeTimeoutMs,
  })
  const { error } = answer.json<{ error?: { description?: string } }>()
  if (error) throw new Error(`the store keeps ${key}: ${error.description}`)
}

function createStore({
  connection,
  kv,
  secret,
  log,
  clock,
}: {
  readonly connection: NatsConnection
  readonly kv: KV
  readonly secret: Uint8Array
  readonly log: Log
  readonly clock: Clock
}): ClusterStore {
  let isConnected = true
  let losses = 0
  const stop = new AbortController()
  const following = (async () => {
    for await (const { type } of connection.status()) {
      if (type === 'disconnect') {
        isConnected = false
        losses++
        log.warn('cluster_lost', {
          hint: 'Routes stay as they were heard last, and each gateway counts limits for itself.',
        })
      } else if (type === 'reconnect') {
        isConnected = true
        log.info('cluster_found')
      }
    }
  })()
  return {
    secret,
    valueBytesMax: connection.info?.max_payload ?? limits.clusterValueBytesMax,
    isConnected: () => isConnected,
    losses: () => losses,
    put: async (key, value) => void (await kv.put(key, value)),
    delete: (key) => kv.delete(key),
    async purge(ageMs, isPassing) {
      const before = clock.nowMs() - ageMs
      const old: { readonly key: string; readonly revision: number }[] = []
      // The secret is always there, so that what is there ends.
      for await (const entry of await kv.watch({ headers_only: true })) {
        const { key, operation, created, revision, delta } = entry
        const isOver = operation !== 'PUT' || isPassing(key)
        if (isOver && created.getTime() < before) old.push({ key, revision })
        if (delta === 0 || old.length >= limits.clusterMarksPurgedMax) break
      }
      for (const { key, revision } of old) await purgeUpTo(connection, key, revision)
    },
    watch(onEntry) {
      const hear = async (): Promise<void> => {
        for await (const entry of await kv.watch()) {
          onEntry(entry.key, entry.operation === 'PUT' ? entry.string() : undefined, {
            isNew: entry.isUpdate,
          })
        }
      }
      void (async () => {
        while (!stop.signal.aborted) {
          await hear().catch((error) => {
            if (!stop.signal.aborted) log.error('cluster_unwatched', { error: String(error) })
          })
          await clock.sleep(limits.clusterHeartbeatMs, stop.signal).catch(() => undefined)
        }
      })()
    },
    async [Symbol.asyncDispose]() {
      stop.abort(new Error('The store was closed.'))
      await connection.close()
      await following
    },
  }
}
