import type { z } from 'zod'
import { limits } from '../../protocol/limits.ts'

/** What another gateway has said, or undefined where it is too long or nothing of the kind. */
export function parseWord<T>(
  schema: z.ZodType<T>,
  text: string,
  bytesMax = limits.clusterValueBytesMax,
): T | undefined {
  if (text.length > bytesMax) return undefined
  try {
    return schema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}
