import type { Address, Hex } from 'viem'
import { parseSignedReceipt } from '../read-receipt.ts'
import { isDelegated } from '../receipt-key.ts'
import { verifyReceipt } from '../verify-receipt.ts'
import { explainVote, type VoteFacts } from './check-votes.ts'
import type { MemberReport } from './member.ts'
import type { SwarmProof } from './proof.ts'
import { hashCandidates, selectionSeed, selectMembers } from './select-members.ts'
import { decideVerdict } from './verdict.ts'
import type { SignedVote } from './vote.ts'

export interface SwarmCheck {
  /** `selection`, `vote alice`, `receipt alice`, `verdict`, `answer`, … */
  readonly name: string
  /** `open` where there was nothing to compare with; `liar` where a member signed another answer than the one that won. */
  readonly verdict: 'ok' | 'wrong' | 'open' | 'liar'
  readonly says: string
}

/** What somebody knows of a swarm beside what came of it. */
export interface SwarmEvidence {
  /** The members' accounts as the registry has them, by name. */
  readonly accounts?: ReadonlyMap<string, Address | undefined> | undefined
  /** Of the block that they were drawn with, as the chain has it; `none` where it has no such block. */
  readonly blockHash?: Hex | 'none' | undefined
}

/** Checks what came of a swarm without asking anybody. One line for each check; whoever lied is named. */
export async function verifySwarm(proof: SwarmProof, evidence: SwarmEvidence = {}): Promise<SwarmCheck[]> {
  const { members, ballot } = proof
  const votes = members.map(({ vote }) => vote)
  const [first] = winnersOf(members) ?? votes.filter((vote) => vote !== undefined)
  const checks: SwarmCheck[] = []
  const add = (name: string, matter: string | undefined, says: string) =>
    void checks.push({ name, verdict: matter === undefined ? 'ok' : 'wrong', says: matter ?? says })
  const open = (name: string, says: string) => void checks.push({ name, verdict: 'open', says })
  if (!first) {
    open('votes', 'nobody voted')
    return checks
  }
  const facts: VoteFacts = {
    ...first.vote,
    market: first.market,
    swarm: ballot.swarm,
    members: ballot.members,
    agreeing: ballot.agreeing,
    candidates: hashCandidates(proof.candidates),
    ...(proof.requestDigest && { requestDigest: proof.requestDigest }),
    ...(proof.deployment && { deployment: proof.deployment }),
  }

  add(
    'selection',
    explainSelection(proof, facts),
    `${members.length} of ${proof.candidates.length} candidates`,
  )
  if (evidence.blockHash === undefined) open('block', `${ballot.block}, ${facts.blockHash}`)
  else
    add(
      'block',
      evidence.blockHash === facts.blockHash ? undefined : `block ${ballot.block} has another hash on chain`,
      `${ballot.block}`,
    )

  const sound = new Set<MemberReport>()
  for (const member of members) {
    const { name, vote, state } = member
    const account = evidence.accounts?.get(name)
    if (evidence.accounts)
      add(
        `member ${name}`,
        account === member.address
          ? undefined
          : `the registry says ${account ?? 'nothing'}, not ${member.address}`,
        member.address,
      )
    if (!vote) {
      open(`vote ${name}`, member.code ? `${state}: ${member.code}` : state)
      continue
    }
    const matter = await explainVote(vote, member.address, facts, { isDelegated, nowSeconds: undefined })
    add(`vote ${name}`, matter, `${vote.vote.status} ${vote.vote.answerDigest}`)
    if (matter === undefined) sound.add(member)
    await checkReceipt(member, vote, add, open)
  }

  const decision = decideVerdict(
    // One that showed another answer than it had voted for has voted all the same.
    members.map((member) => (sound.has(member) ? member.vote?.vote : undefined)),
    ballot.agreeing,
  )
  add(
    'verdict',
    decision.verdict === proof.verdict
      ? undefined
      : `the votes say ${decision.verdict}, and not ${proof.verdict}`,
    `${decision.verdict}, ${decision.groups.map(({ length }) => length).join(':') || 'no votes'}`,
  )
  const won = decision.agreeing
    .map((index) => members[index]?.vote?.vote)
    .filter((vote) => vote !== undefined)
  if (won.length === 0) open('answer', 'none won')
  else if (proof.bodyDigest === undefined) open('answer', 'its body was not kept')
  else
    add(
      'answer',
      won.some(({ responseDigest, status }) => responseDigest === proof.bodyDigest && status === proof.status)
        ? undefined
        : 'no member that agrees voted for this answer',
      `${proof.status} ${proof.bodyDigest}`,
    )
  if (decision.agreeing.length > 0) {
    members.forEach((member, index) => {
      if (!sound.has(member) || decision.agreeing.includes(index)) return
      checks.push({
        name: `liar ${member.name}`,
        verdict: 'liar',
        says: `signed another answer: ${member.vote?.vote.status} ${member.vote?.vote.answerDigest}`,
      })
    })
  }
  return checks
}

/** Those of whom is said that they agree. */
function winnersOf(members: readonly MemberReport[]): SignedVote[] | undefined {
  const agreeing = members.filter(({ state }) => state === 'agrees').map(({ vote }) => vote)
  const votes = agreeing.filter((vote) => vote !== undefined)
  return votes.length > 0 ? votes : undefined
}

function explainSelection(
  { members, candidates, ballot }: SwarmProof,
  { blockHash, deployment }: VoteFacts,
): string | undefined {
  const drawn = selectMembers(selectionSeed(blockHash, deployment), candidates, ballot.members)
  const said = new Set(members.map(({ address }) => address))
  const isSame = drawn.length === said.size && drawn.every((address) => said.has(address))
  return isSame && members.length === ballot.members
    ? undefined
    : `block and candidates draw ${drawn.join(', ')}`
}

async function checkReceipt(
  { name, address, state, receipt }: MemberReport,
  { vote, market }: SignedVote,
  add: (name: string, matter: string | undefined, says: string) => void,
  open: (name: string, says: string) => void,
): Promise<void> {
  if (state !== 'agrees') return
  if (receipt === undefined)
    return open(`receipt ${name}`, `not there yet: see its /_/receipts/${vote.callId}`)
  const signed = parseSignedReceipt(receipt)
  const { callId, programId, deployment, requestDigest, responseDigest, status } = vote
  const wrong = signed
    ? (
        await verifyReceipt(signed, {
          ...{
            provider: address,
            market,
            callId,
            programId,
            deployment,
            requestDigest,
            responseDigest,
            status,
          },
        })
      ).filter(({ verdict }) => verdict === 'wrong')
    : undefined
  add(
    `receipt ${name}`,
    wrong === undefined
      ? 'it cannot be read'
      : wrong.map((one) => `${one.name}: ${one.says}`).join('; ') || undefined,
    `${signed?.receipt.priceUsdc ?? 0} base units of USDC`,
  )
}
