/** What `wasm-modules.ts` writes for each program, beside these modules. */

export const program: WebAssembly.Module
/** Its path in the zip. */
export const entry: string
/** What a fault begins with. */
export const token: string
export const faultHeader: string
export const recordHeaders: { readonly seed: string; readonly started: string }
export const files: readonly { readonly path: string; readonly bytes: Uint8Array }[]
