import { limits } from '../../protocol/limits.ts'

/** Cuts what a program prints into lines, whatever pieces it comes in; a longer line is cut off. */
export function createOutputLines(take: (line: string) => void): (chunk: Buffer) => void {
  const decoder = new TextDecoder()
  let held = ''
  return (chunk) => {
    const lines = (held + decoder.decode(chunk, { stream: true })).split('\n')
    held = lines.pop() ?? ''
    for (const line of lines) if (line !== '') take(line.slice(0, limits.programLogLineCharsMax))
    // What follows up to the line's end is kept no longer than what can be shown of it.
    held = held.slice(0, limits.programLogLineCharsMax)
  }
}
