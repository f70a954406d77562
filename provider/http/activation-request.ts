import { activationHeader, activationPath, programIdHeader } from '../../protocol/activation.ts'
import type { UpstreamRequest } from '../../protocol/http/upstream.ts'
import type { ProgramId } from '../../protocol/program.ts'

/**
 * An activation as its program gets it: the same bytes for the same params, whoever sends them, how, and through which gateway. What
 * it means stands in a header that no caller can send.
 */
export function toActivationRequest(name: string, params: Uint8Array, programId: ProgramId): UpstreamRequest {
  return {
    method: 'POST',
    target: `${activationPath}/${name}`,
    rawHeaders: [
      ...['host', 'activation.invalid', 'content-type', 'application/json'],
      ...[activationHeader, name, programIdHeader, programId],
    ],
    body: Buffer.from(params),
  }
}
