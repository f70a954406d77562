import type { Usage } from '../runtime.ts'

export interface CgroupLimits {
  readonly memoryBytes: number
  readonly pidsMax: number
  /** 100 is one core. */
  readonly cpuPercent: number
}

/** The kernel's limits around one sandbox. Always a fresh one: a used one keeps counting what has gone. */
export interface Cgroup {
  limit(limits: CgroupLimits): void
  /**
   * Files by which a process of one thread enters by itself, writing `0` to each; they are that user's from now on. Empty
   * where it has to be added.
   */
  entrances(user: number | undefined): readonly string[]
  /**
   * Adding anybody else waits until every processor has been through the scheduler, some 10 ms on a machine with little
   * to do; that holds up nobody but who waits for this.
   */
  add(pid: number): Promise<void>
  /**
   * @param percent - Of what another program gets where both want the processor; 100 at first, 1 at least. Whoever has less
   * than 100 gives way at once to who has them, where the kernel can do that, and then gets less still.
   */
  weigh(percent: number): void
  /** Ends every process in it. */
  kill(): void
  /** Whether the kernel has killed something in it for memory. */
  wasOutOfMemory(): boolean
  /** Whether the kernel has refused it a process or a thread. */
  wasOutOfPids(): boolean
  usage(): Usage
  /** Ends what is left in it and takes it away. */
  remove(): Promise<void>
}
