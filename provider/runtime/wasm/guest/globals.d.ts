/** What workerd has beyond TypeScript's own library: WebAssembly with JSPI, and streams that the engine moves itself. */

declare namespace WebAssembly {
  class Module {
    private constructor()
  }
  class Instance {
    constructor(module: Module, imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>)
    readonly exports: Readonly<Record<string, unknown>>
  }
  class Memory {
    private constructor()
    readonly buffer: ArrayBuffer
  }
  class RuntimeError extends Error {}
  /**
   * A function that may give a promise: the program that called it waits, and others run meanwhile
   * (https://webassembly.github.io/js-promise-integration/).
   */
  class Suspending {
    constructor(run: (...args: never[]) => number | Promise<number>)
  }
  /** A function whose program may wait. */
  function promising(run: () => void): () => Promise<void>
}

/** Bytes in, the same bytes out; `write` waits until they were read. */
declare class IdentityTransformStream {
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<Uint8Array>
}
