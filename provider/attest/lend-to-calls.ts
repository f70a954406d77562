import { activationHeader } from '../../protocol/activation.ts'
import type { UpstreamExchange } from '../../protocol/http/upstream.ts'
import type { Instance } from '../runtime/runtime.ts'
import { type AttestChannel, attestTokenHeader } from './attest-channel.ts'

/** A program each of whose activations can attest for as long as it runs; its other calls cannot. */
export function lendToCalls(instance: Instance, channel: AttestChannel): Instance {
  const call: Instance['call'] = (request, handler) => {
    if (!request.rawHeaders.includes(activationHeader)) return instance.call(request, handler)
    const loan = channel.lend()
    const lent = { ...request, rawHeaders: [...request.rawHeaders, attestTokenHeader, loan.token] }
    const exchange: UpstreamExchange = instance.call(lent, {
      ...handler,
      onEnd(outcome, rawTrailers) {
        loan[Symbol.dispose]()
        handler.onEnd(outcome, rawTrailers)
      },
    })
    return {
      pause: () => exchange.pause(),
      resume: () => exchange.resume(),
      abort() {
        loan[Symbol.dispose]()
        exchange.abort()
      },
    }
  }
  return new Proxy(instance, {
    get: (target, name) => {
      if (name === 'call') return call
      if (name === Symbol.asyncDispose)
        return async () => {
          await Promise.all([target[Symbol.asyncDispose](), channel[Symbol.asyncDispose]()])
        }
      return Reflect.get(target, name, target)
    },
  })
}
