import { open, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** Puts a file at its place whole, for this user only, so that it survives whatever happens next. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `.${crypto.randomUUID()}.tmp`)
  {
    await using file = await open(temporary, 'wx', 0o600)
    await file.writeFile(text)
    await file.sync()
  }
  await rename(temporary, path)
  await syncDir(dirname(path))
}

/** Makes the names in a directory as durable as the files. */
export async function syncDir(dir: string): Promise<void> {
  await using handle = await open(dir, 'r')
  await handle.sync()
}
