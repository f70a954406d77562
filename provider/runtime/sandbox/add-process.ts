import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Moves a process into a cgroup; one that has ended needs no place any more. */
export async function addProcess(folder: string, pid: number): Promise<void> {
  try {
    await writeFile(join(folder, 'cgroup.procs'), String(pid))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
