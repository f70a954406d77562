/** Error numbers of WASI preview 1 (`errno` in wasi_snapshot_preview1.witx), as far as they are used here. */
export const errno = {
  success: 0,
  badf: 8,
  inval: 28,
  isdir: 31,
  mfile: 33,
  noent: 44,
  nosys: 52,
  notdir: 54,
  rofs: 69,
  spipe: 70,
} as const
