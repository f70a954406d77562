import { z } from 'zod'
import { limits } from '../protocol/limits.ts'
import { type AskDeps, askGateway } from './ask-gateway.ts'

const listSchema = z.object({ gateways: z.array(z.string().max(512)).max(64) })

/**
 * Asks a gateway which others there are, at `/_/gateways` beside its tunnel.
 *
 * @throws whatever keeps it from answering with a list
 */
export async function readGateways(
  deps: AskDeps,
  gatewayUrl: URL,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const url = new URL('/_/gateways', gatewayUrl)
  url.protocol = gatewayUrl.protocol === 'wss:' ? 'https:' : 'http:'
  const { status, body } = await askGateway(deps, { url, bytesMax: limits.gatewayListBytesMax }, signal)
  if (status !== 200) throw new Error(`The gateway answers ${status}.`)
  return listSchema.parse(JSON.parse(new TextDecoder().decode(body))).gateways
}
