import type { Instance } from './runtime.ts'

/** Disposes what is still alive of what it was given. */
export function createOwner(): AsyncDisposable & { own<T extends Instance>(one: T): T } {
  const owned = new Set<Instance>()
  return {
    own(one) {
      owned.add(one)
      // Whatever a program died of, its folder and its cgroup go with it.
      void one.whenDead.then(() => one[Symbol.asyncDispose]()).finally(() => owned.delete(one))
      return one
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...owned].map((one) => one[Symbol.asyncDispose]()))
    },
  }
}
