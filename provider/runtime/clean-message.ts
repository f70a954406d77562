import { limits } from '../../protocol/limits.ts'

/** A program's words on one line, in bounds, without what a terminal would obey. */
export function cleanMessage(text: string): string {
  const line = text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ').trim()
  const bytes = Buffer.from(line)
  if (bytes.length <= limits.faultMessageBytesMax) return line
  return bytes
    .subarray(0, limits.faultMessageBytesMax)
    .toString('utf8')
    .replace(/\ufffd+$/, '')
}
