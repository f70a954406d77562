import type { Load } from './load.ts'
import type { BenchMarket } from './market.ts'

/** One thing that is measured beside its peers. */
export interface Measurement {
  /** For `--only`. */
  readonly name: string
  readonly title: string
  run(context: BenchContext, signal: AbortSignal): Promise<Report>
}

export interface BenchContext {
  /** Of one round at one target. */
  readonly seconds: number
  readonly rounds: number
  readonly load: Load
  /** Empty, on a real disk, and gone when the bench ends. */
  readonly dir: string
  /** Starts at the first use: not every measurement needs one. */
  market(): Promise<BenchMarket>
  /** Tells people what is being done. */
  note(text: string): void
}

export interface Report {
  readonly tables: readonly Table[]
  /** A sentence each, for below the tables. */
  readonly remarks: readonly string[]
}

export interface Table {
  readonly caption: string
  readonly columns: readonly string[]
  /** A cell that is absent does not apply. */
  readonly rows: readonly (readonly (string | number | undefined)[])[]
}
