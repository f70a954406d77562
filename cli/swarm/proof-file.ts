import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { parseSwarmProof, readSwarmHead, type SwarmProof } from '../../protocol/swarm/proof.ts'

/**
 * Reads what "swarm call -o" wrote, `proof` of a gateway's `/_/swarms/<id>`, or what "curl -D" or "curl -i" wrote of a swarm's answer; the latter has the body, too.
 *
 * @param body - Of the answer, where it is kept apart.
 * @throws ProtocolError `swarm_invalid`
 */
export function readSwarmFile(bytes: Uint8Array, body: Uint8Array | undefined): SwarmProof {
  const text = Buffer.from(bytes).toString('latin1')
  if (text.trimStart().startsWith('{')) {
    const proof = parseSwarmProof(parseJson(bytes))
    if (proof) return body ? { ...proof, bodyDigest: toHex(sha256(body)) } : proof
    throw invalid('The file is neither what "khachapuri swarm call -o" writes nor "proof" of /_/swarms/<id>.')
  }
  const { status, fields, bodyAt } = readHead(text)
  const head = readSwarmHead((name) => fields.filter(([field]) => field === name).map(([, value]) => value))
  if (!head) throw invalid('There is no Khachapuri-Swarm in it, or not all that belongs to it.')
  const rest = bytes.subarray(bodyAt)
  const shown = body ?? (rest.byteLength > 0 ? rest : undefined)
  return {
    ...head,
    status,
    bodyDigest: shown && toHex(sha256(shown)),
    requestDigest: undefined,
    deployment: undefined,
  }
}

/** The last head: curl writes those of 100 Continue and of redirects, too. */
function readHead(text: string) {
  let [status, bodyAt] = [0, 0]
  let fields: [string, string][] = []
  for (;;) {
    const code = /^HTTP\/[\d.]+ (\d{3})/.exec(text.slice(bodyAt, bodyAt + 20))?.[1]
    if (code === undefined) return { status, fields, bodyAt }
    const end = /\r?\n\r?\n|$/.exec(text.slice(bodyAt))
    const lines = text.slice(bodyAt, bodyAt + (end?.index ?? 0)).split(/\r?\n/)
    status = Number(code)
    fields = lines.slice(1).map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    })
    bodyAt += (end?.index ?? 0) + (end?.[0].length ?? 0)
  }
}

const invalid = (message: string) =>
  new ProtocolError('swarm_invalid', message, {
    hint: 'Keep one with "khachapuri swarm call -o out.json", or with "curl -D head.txt -o body".',
  })
