import { type NativeRoot, nativeRoots } from '../../provider/runtime/native/binary.ts'
import {
  type NativeOptions,
  type NativeWalls,
  nativeWalls,
} from '../../provider/runtime/native/native-runtime.ts'
import { usageError } from '../command.ts'

/** What of this machine native programs can read. */
export const nativeRootOption = {
  'native-root': {
    type: 'string',
    value: nativeRoots.join('|'),
    help: 'What native programs see of this machine: nothing (default; for static binaries), or its /usr',
  },
} as const

export const nativeOptions = {
  native: {
    type: 'boolean',
    help: 'Run native programs, too: Linux binaries, behind bubblewrap, on the kernel of this machine',
  },
  'native-walls': {
    type: 'string',
    value: nativeWalls.join('|'),
    help: 'What native programs run in: bubblewrap (default), or gVisor: no kernel shared with this machine; slower, by cgi only, no network',
  },
  ...nativeRootOption,
} as const

/** @returns undefined where native programs were not asked for. @throws ProtocolError `usage_invalid` */
export function parseNative(values: {
  readonly native?: boolean | undefined
  readonly 'native-root'?: string | undefined
  readonly 'native-walls'?: string | undefined
}): NativeOptions | undefined {
  if (values.native) return { root: parseNativeRoot(values), walls: parseWalls(values['native-walls']) }
  for (const name of ['native-root', 'native-walls'] as const) {
    if (values[name] !== undefined)
      throw usageError(`--${name} goes with --native.`, 'Add --native, or leave both out.')
  }
  return undefined
}

function parseWalls(text = 'bubblewrap'): NativeWalls {
  const walls = nativeWalls.find((one) => one === text)
  if (walls) return walls
  throw usageError(
    `"${text.slice(0, 40)}" is not a value for --native-walls.`,
    `Use one of: ${nativeWalls.join(', ')}.`,
  )
}

/** @throws ProtocolError `usage_invalid` */
export function parseNativeRoot({
  'native-root': text = 'none',
}: {
  readonly 'native-root'?: string | undefined
}): NativeRoot {
  const root = nativeRoots.find((one) => one === text)
  if (root) return root
  throw usageError(
    `"${text.slice(0, 40)}" is not a value for --native-root.`,
    `Use one of: ${nativeRoots.join(', ')}.`,
  )
}
