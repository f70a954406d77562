import type { IncomingHttpHeaders } from 'node:http'
import { ProtocolError } from '../../protocol/errors.ts'
import { type CID, parseContentCid } from '../../protocol/ipfs/cid.ts'
import type { DomainRecord } from '../../protocol/ipfs/domain-record.ts'
import type { Name, ProviderName } from '../../protocol/name.ts'
import type { DomainAnswer, DomainCache } from '../names/domain-cache.ts'
import type { KnownName, NameAnswer, NameCache } from '../names/name-cache.ts'
import type { HostMeaning } from '../names/resolve-host.ts'
import type { RoutedDeployment, Router } from '../routing/router.ts'
import type { ProviderRoute, ProviderRoutes } from './provider-routes.ts'
import type { RequestShape } from './request-shape.ts'

/** Hosts behind which there are calls. */
export type Destination = Extract<HostMeaning, { kind: 'name' | 'any' | 'origin' | 'foreign' }>

/** Where a request goes, and what it is there. */
export interface Way {
  /** Throws where there is none at the moment. */
  readonly openRoute: () => ProviderRoute
  /** Undefined where one of several takes the call. */
  readonly provider: ProviderName | undefined
  /** Who has taken it then, once that is known. */
  readonly servedBy?: ProviderRoute['servedBy']
  /** Path and query as the provider sees them: `/<cid>/…`. */
  readonly target: string
  /** See `NameAnswer.staleMs`. */
  readonly staleMs: number | undefined
  /** Whether the deployment has the host to itself, so that all of it is its own to govern. */
  readonly isOwnOrigin: boolean
  /** The widest `Domain` of its cookies; none may be wider than its host where this is undefined. */
  readonly cookieDomain: string | undefined
}

export interface WayRequest {
  readonly destination: Destination
  readonly shape: RequestShape
  readonly headers: IncomingHttpHeaders
}

/** Finds the way of a request, at once where all is known. It throws, and its promise rejects, with what is refused. */
export type FindWay = (request: WayRequest, signal: AbortSignal) => Way | Promise<Way>

export interface FindWayDeps {
  readonly names: Pick<NameCache, 'peek' | 'resolve'>
  readonly routes: Pick<ProviderRoutes, 'routeTo'>
  readonly router: Router
  /** Absent where the gateway answers for no domain but its own. */
  readonly domains?: DomainCache | undefined
}

export function createFindWay({ names, routes, router, domains }: FindWayDeps): FindWay {
  /** Calls `next` with what is known of a name, at once where that is known. */
  function withName<T>(
    name: Name,
    next: (answer: Known) => T | Promise<T>,
    signal: AbortSignal,
  ): T | Promise<T> {
    const answer = names.peek(name)
    if (answer) return next(requireKnown(answer, name))
    return names.resolve(name, signal).then((resolved) => next(requireKnown(resolved, name)))
  }

  async function toDeployment(
    deployment: RoutedDeployment,
    { shape, headers }: WayRequest,
    rest: Pick<Way, 'target' | 'staleMs'>,
    signal: AbortSignal,
  ): Promise<Way> {
    const route = await router.routeTo(deployment, { headers, host: shape.host }, signal)
    const { servedBy } = route
    return {
      openRoute: () => route,
      provider: undefined,
      ...(servedBy && { servedBy }),
      isOwnOrigin: true,
      cookieDomain: undefined,
      ...rest,
    }
  }

  function toProvider(provider: ProviderName, rest: Pick<Way, 'target' | 'staleMs' | 'isOwnOrigin'>): Way {
    return { openRoute: () => routes.routeTo(provider), provider, cookieDomain: undefined, ...rest }
  }

  function toName(record: KnownName, staleMs: number | undefined, request: WayRequest, signal: AbortSignal) {
    const { target } = request.shape
    if (record.kind === 'provider') return toProvider(record, { target, staleMs, isOwnOrigin: false })
    return toDeployment(record, request, { target: underCid(record.cid, target), staleMs }, signal)
  }

  async function ofDomain(
    answer: DomainAnswer,
    host: string,
    request: WayRequest,
    signal: AbortSignal,
  ): Promise<Way> {
    const record = requireDomain(answer, host)
    const way =
      record.kind === 'deployment'
        ? toDeployment(
            record,
            request,
            { target: underCid(record.cid, request.shape.target), staleMs: undefined },
            signal,
          )
        : withName(record.name, (named) => toName(named.record, named.staleMs, request, signal), signal)
    // All of the domain is its owner's.
    return { ...(await way), cookieDomain: host }
  }

  return (request, signal) => {
    const { destination, shape } = request
    switch (destination.kind) {
      case 'name':
        return withName(
          destination.name,
          ({ record, staleMs }) => toName(record, staleMs, request, signal),
          signal,
        )
      case 'any': {
        const cid = readCid(shape.target)
        const way = toDeployment(
          { cid, providers: [] },
          request,
          { target: shape.target, staleMs: undefined },
          signal,
        )
        return way.then((found) => ({ ...found, isOwnOrigin: false }))
      }
      case 'origin': {
        const { cid, provider } = destination
        const target = underCid(cid, shape.target)
        if (provider === 'any')
          return toDeployment({ cid, providers: [] }, request, { target, staleMs: undefined }, signal)
        const toOrigin = ({ record, staleMs }: Known): Way => {
          if (record.kind !== 'provider') throw noOriginThere(record.name)
          return toProvider(record, { target, staleMs, isOwnOrigin: true })
        }
        return withName(provider, toOrigin, signal)
      }
      case 'foreign': {
        const { host } = destination
        if (!domains) throw unknownHost(host)
        const answer = domains.peek(host)
        if (answer) return ofDomain(answer, host, request, signal)
        return domains.resolve(host, signal).then((found) => ofDomain(found, host, request, signal))
      }
    }
  }
}

/** For the log, where nobody has taken the call yet. */
export function formatDestination(destination: Destination): string {
  if (destination.kind === 'any') return 'any'
  if (destination.kind === 'foreign') return destination.host
  return destination.kind === 'name' ? destination.name : destination.provider
}

type Known = NameAnswer & { kind: 'known' }

function requireKnown(answer: NameAnswer, name: Name): Known {
  if (answer.kind === 'known') return answer
  if (answer.kind === 'refused') throw answer.error
  throw new ProtocolError('provider_unknown', `No provider has the name ${name}.`, {
    hint: 'Check the first part of the host; the page of the gateway lists the providers it knows.',
    details: { provider: name },
  })
}

function requireDomain(answer: DomainAnswer, host: string): DomainRecord {
  if (answer.kind === 'known') return answer.record
  throw answer.kind === 'refused' ? answer.error : unknownHost(host)
}

function unknownHost(host: string): ProtocolError {
  return new ProtocolError('host_unknown', `This gateway does not answer for ${host.slice(0, 100)}.`, {
    hint: `If the domain is yours: khachapuri domain add ${host.slice(0, 100)} <cid>.`,
  })
}

const underCid = (cid: CID, target: string): string => `/${cid}${target.startsWith('/') ? target : '/'}`

/** @throws `cid_malformed`, `not_found` */
function readCid(target: string): CID {
  const [, segment = ''] = /^\/([^/?#]*)/.exec(target) ?? []
  if (segment !== '' && segment !== '_') return parseContentCid(segment)
  throw new ProtocolError('not_found', 'There is nothing at this path.', {
    hint: 'Deployments answer at /<cid>/….',
  })
}

/** A stranger could put any program below the name, and so share cookies and reputation with it. */
function noOriginThere(name: Name): ProtocolError {
  return new ProtocolError('provider_unknown', `The name ${name} is that of a deployment.`, {
    hint: `Call it without a CID, or the CID at a provider's name.`,
    details: { provider: name },
  })
}
