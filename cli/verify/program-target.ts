import type { Hex } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import { digestOfCid, parseContentCid } from '../../protocol/ipfs/cid.ts'

/** Path and query as the program saw them: what comes after the CID, if the path begins with that of the deployment. */
export function programTarget(target: string, deployment: Hex): string {
  const [, cid, rest] = /^\/([a-zA-Z0-9]{46,})(.*)$/.exec(target) ?? []
  if (cid === undefined || rest === undefined || !isOf(cid, deployment)) return target
  return rest.startsWith('/') ? rest : `/${rest}`
}

function isOf(cid: string, deployment: Hex): boolean {
  try {
    return toHex(digestOfCid(parseContentCid(cid))) === deployment
  } catch {
    return false
  }
}
