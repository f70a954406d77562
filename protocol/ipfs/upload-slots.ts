import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { KeeperPins } from './keeper-pins.ts'
import type { Upload } from './upload.ts'

export interface KeeperQuotas {
  readonly ownerBytesMax: number
  readonly totalBytesMax: number
}

/** Room for the uploads that run: it is taken before the body is read, and given back when the upload ends. */
export interface UploadSlots {
  /** @throws ProtocolError `too_many_requests`, `keeper_full` */
  take(upload: Upload): UploadSlot
}

export interface UploadSlot extends Disposable {
  /** Asks for more room than was taken. @throws ProtocolError `keeper_full` */
  grow(bytes: number): void
}

/** Check and reservation are one synchronous step: two uploads never count on the same room. */
export function createUploadSlots(pins: KeeperPins, quotas: KeeperQuotas): UploadSlots {
  const running = new Set<{ readonly upload: Upload; bytes: number }>()
  const checkRoom = (upload: Upload, bytes: number): void => {
    const others = [...running]
    const ownerRunning = sum(others.filter((slot) => slot.upload.owner === upload.owner))
    const ownerBytes = pins.sumBytes({ owner: upload.owner, except: upload }) + ownerRunning + bytes
    if (ownerBytes > quotas.ownerBytesMax) throw full('This owner', quotas.ownerBytesMax)
    if (pins.sumBytes({ except: upload }) + sum(others) + bytes > quotas.totalBytesMax)
      throw full('This keeper', quotas.totalBytesMax)
  }
  return {
    take(upload) {
      const ofOwner = [...running].filter((slot) => slot.upload.owner === upload.owner)
      if (ofOwner.length >= limits.uploadsPerOwnerMax) throw tooMany()
      checkRoom(upload, upload.carBytes)
      const slot = { upload, bytes: upload.carBytes }
      running.add(slot)
      return {
        grow(bytes) {
          running.delete(slot)
          checkRoom(upload, bytes)
          slot.bytes = bytes
          running.add(slot)
        },
        [Symbol.dispose]: () => void running.delete(slot),
      }
    },
  }
}

function sum(slots: readonly { readonly bytes: number }[]): number {
  return slots.reduce((total, { bytes }) => total + bytes, 0)
}

function full(who: string, bytesMax: number): ProtocolError {
  return new ProtocolError('keeper_full', `${who} cannot keep more than ${bytesMax} bytes.`, {
    hint: 'Wait until older content expires, or use another keeper.',
    details: { bytesMax },
  })
}

function tooMany(): ProtocolError {
  return new ProtocolError(
    'too_many_requests',
    `One owner may run ${limits.uploadsPerOwnerMax} uploads at once.`,
    {
      hint: 'Wait until one has ended.',
    },
  )
}
