import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

/**
 * For `node --import`: a disk that fails. After `SYNCS_MAX` calls of `fdatasync` each one throws what the kernel says of an error
 * of the device. It reaches the journal's thread, too, which inherits it.
 */
const { fdatasyncSync } = fs
let left = Number(process.env['SYNCS_MAX'])

fs.fdatasyncSync = (file) => {
  if (left <= 0)
    throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO', syscall: 'fdatasync' })
  left -= 1
  fdatasyncSync(file)
}
syncBuiltinESMExports()
