/** The files of a program's zip as a directory that can only be read. */
export type Node = FileNode | FolderNode

export interface FileNode {
  readonly kind: 'file'
  /** Names the file among all of its tree. */
  readonly inode: bigint
  readonly bytes: Uint8Array
}

export interface FolderNode {
  readonly kind: 'folder'
  readonly inode: bigint
  /** In an order that is the same on every machine. */
  readonly children: ReadonlyMap<string, Node>
}

/** @param files - Relative paths with `/`, none of them `..`: the zip was checked. */
export function buildTree(
  files: readonly { readonly path: string; readonly bytes: Uint8Array }[],
): FolderNode {
  const root = new Map<string, Node>()
  let inodes = 1n
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1))
  for (const { path, bytes } of sorted) {
    const names = path.split('/')
    const last = names.pop() as string
    let folder = root
    for (const name of names) {
      let next = folder.get(name)
      if (next?.kind !== 'folder') {
        inodes += 1n
        next = { kind: 'folder', inode: inodes, children: new Map() }
        folder.set(name, next)
      }
      folder = next.children as Map<string, Node>
    }
    inodes += 1n
    folder.set(last, { kind: 'file', inode: inodes, bytes })
  }
  return { kind: 'folder', inode: 1n, children: root }
}

/** @returns undefined where there is nothing; a path never leads out of `from`, which is the root of what is to be seen. */
export function findNode(from: FolderNode, path: string): Node | undefined {
  const way: Node[] = [from]
  for (const name of path.split('/')) {
    const here = way.at(-1) as Node
    if (name === '' || name === '.') continue
    if (name === '..') {
      if (way.length > 1) way.pop()
      continue
    }
    const next = here.kind === 'folder' ? here.children.get(name) : undefined
    if (!next) return undefined
    way.push(next)
  }
  const found = way.at(-1) as Node
  return path.endsWith('/') && found.kind === 'file' ? undefined : found
}
