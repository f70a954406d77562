import type { FileNode, FolderNode, Node } from './file-tree.ts'

/** What an open descriptor of a program stands for. */
export type Descriptor =
  | { readonly kind: 'input' | 'output' | 'errors' }
  | { readonly kind: 'folder'; readonly node: FolderNode }
  | { readonly kind: 'file'; readonly node: FileNode; position: bigint }

/** The program's descriptors: its three streams, the root of its files, and what it opened. */
export interface Descriptors {
  get(fd: number): Descriptor | undefined
  /** @returns undefined where too many are open */
  open(node: Node): number | undefined
  /** @returns whether there was one */
  close(fd: number): boolean
  /** Moves one onto another, which is closed. @returns whether there were both */
  renumber(from: number, to: number): boolean
}

/** The one folder that is open from the beginning. */
export const rootFd = 3

const descriptorsMax = 1024

export function createDescriptors(root: FolderNode): Descriptors {
  const open = new Map<number, Descriptor>([
    [0, { kind: 'input' }],
    [1, { kind: 'output' }],
    [2, { kind: 'errors' }],
    [rootFd, { kind: 'folder', node: root }],
  ])
  return {
    get: (fd) => open.get(fd),
    open(node) {
      if (open.size >= descriptorsMax) return undefined
      let fd = 0
      while (open.has(fd)) fd += 1
      open.set(fd, node.kind === 'folder' ? { kind: 'folder', node } : { kind: 'file', node, position: 0n })
      return fd
    },
    close: (fd) => open.delete(fd),
    renumber(from, to) {
      const moved = open.get(from)
      if (!moved || !open.has(to)) return false
      open.delete(from)
      open.set(to, moved)
      return true
    },
  }
}
