import type { Hex } from 'viem'
import { usageError } from '../command.ts'
import { programTarget } from './program-target.ts'

/** Reads `--request`, as the program saw it. @throws ProtocolError `usage_invalid` */
export function parseRequestLine(line: string, deployment: Hex): { method: string; target: string } {
  const [, method, target] = /^([A-Z]{1,20}) (\/\S*)$/.exec(line) ?? []
  if (method !== undefined && target !== undefined)
    return { method, target: programTarget(target, deployment) }
  throw usageError(`"${line.slice(0, 80)}" is not a request.`, 'Write --request "GET /path?query".')
}
