/** Something of the host, or nothing, at a place in a native program's root. All of it read-only. */
export type NativeMount =
  | { readonly kind: 'bind'; readonly from: string; readonly to: string }
  | { readonly kind: 'link'; readonly target: string; readonly at: string }
  /** An empty folder, over what would be there. */
  | { readonly kind: 'empty'; readonly at: string }

/** As arguments of bubblewrap. */
export function formatBubblewrapMount(mount: NativeMount): string[] {
  switch (mount.kind) {
    case 'bind':
      return ['--ro-bind', mount.from, mount.to]
    case 'link':
      return ['--symlink', mount.target, mount.at]
    case 'empty':
      return ['--size', '4096', '--tmpfs', mount.at, '--remount-ro', mount.at]
  }
}
