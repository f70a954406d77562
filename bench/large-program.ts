import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MiB } from '../protocol/base/bytes.ts'

/** What a developer's bundle has with a few libraries in it. */
const sourceBytes = 1 * MiB

/**
 * A module of 1 MiB in many small functions, as bundles are, any of which may be called, so that no bundler drops them.
 * Each `seed` gives another module, of which no cache knows anything.
 */
export function formatLargeSource(seed: number): string {
  const functions: string[] = []
  for (let length = 0, index = 0; length < sourceBytes; index += 1) {
    const word = ((index + 1) * 2_654_435_761 * (seed + 1)).toString(36)
    const text = `(a,b)=>{const c=a*${index}+b;return c%7===${index % 7}?"${word}":String(c+${seed})}`
    functions.push(text)
    length += text.length + 1
  }
  return `const all=[${functions.join(',')}];export default{fetch:(r)=>new Response(all[r.url.length](1,2))};`
}

/** Writes the directory of a program, as for `khachapuri deploy`. */
export async function writeProgram(dir: string, source: string): Promise<void> {
  await mkdir(dir, { recursive: true })
  await writeFile(join(dir, 'index.js'), source)
  const limits = { timeoutMs: 5000, memoryMiB: 64 }
  await writeFile(
    join(dir, 'khachapuri.json'),
    JSON.stringify({ name: 'large', runtime: 'js', entry: 'index.js', limits }),
  )
}
