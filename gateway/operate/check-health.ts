import { get as getPlainly } from 'node:http'
import { get as getSecurely } from 'node:https'

/**
 * For the container's `HEALTHCHECK`: ends with 0 where the gateway on this machine says that it is well, with TLS or without.
 * Its port is that of the settings' variable, or the one that the container exposes.
 */
const port = Number(process.env['KHACHAPURI_GATEWAY_PORT'] || 8080)
const question = { host: '127.0.0.1', port, path: '/healthz', timeout: 5_000 }

const isWell = (get: typeof getPlainly | typeof getSecurely): Promise<boolean> =>
  new Promise((resolve) => {
    // Whose certificate it is says nothing about health, and 127.0.0.1 is in none.
    const request = get({ ...question, rejectUnauthorized: false }, (answer) => {
      answer.resume()
      resolve(answer.statusCode === 200)
    })
    request.on('error', () => resolve(false)).on('timeout', () => request.destroy())
  })

process.exit((await isWell(getPlainly)) || (await isWell(getSecurely)) ? 0 : 1)
