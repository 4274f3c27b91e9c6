// Walks the groups of one segment file, for recovery, repair and dump. Reads through a window that grows to
// the largest group; nothing it hands out lives longer than the next call.
import path from 'node:path'
import type { Disk, DiskFile } from '../std/disk.ts'
import { MillraceError } from '../std/errors.ts'
import {
  decodeSegmentHeader,
  GROUP_HEADER,
  GroupReader,
  groupPattern,
  SEGMENT_HEADER,
  type SegmentIdentity,
  segmentName,
} from './journal-format.ts'

const WINDOW_BYTES = 1 << 20
const ZEROS = Buffer.alloc(WINDOW_BYTES)

/** `details` tells repair more: the segment, the sequence that was expected at the position, whether the disk cannot read it. */
export function corrupt(
  file: string,
  position: number,
  what: string,
  details: { segment?: number; sequence?: number; isUnreadable?: boolean } = {},
): MillraceError {
  return new MillraceError('log_corrupt', `${file}: ${what} at byte ${position}`, {
    file,
    position,
    ...details,
  })
}

export const missingSegment = (dir: string, segment: number): MillraceError =>
  corrupt(path.join(dir, segmentName(segment)), 0, 'segment is missing; expected a header', { segment })

export class SegmentScanner {
  readonly file: string
  readonly size: number
  readonly identity: SegmentIdentity
  /** The group that `readGroup` found. */
  readonly group = new GroupReader()
  readonly #handle: DiskFile
  readonly #segment: number
  #window: Buffer
  #from = 0
  #filled = 0

  /**
   * Opens the segment for reading. Throws `log_corrupt` where its header is damaged or belongs to another log or number.
   * `assumed`: what it should say, where it is known to be damaged.
   */
  constructor(
    disk: Disk,
    dir: string,
    segment: number,
    logId: string | undefined,
    assumed?: SegmentIdentity,
  ) {
    this.file = path.join(dir, segmentName(segment))
    try {
      this.#handle = disk.open(this.file, 'read')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      throw missingSegment(dir, segment)
    }
    this.#segment = segment
    this.size = this.#handle.size()
    this.#window = Buffer.alloc(Math.min(WINDOW_BYTES, this.size))
    const identity = assumed ?? this.#header()
    if (identity === undefined || identity.segment !== segment) {
      this.close()
      throw corrupt(this.file, 0, 'damaged segment header', { segment })
    }
    if (logId !== undefined && identity.logId !== logId) {
      this.close()
      throw corrupt(this.file, 0, `segment of log ${identity.logId} in log ${logId}, header`)
    }
    this.identity = identity
  }

  close(): void {
    this.#handle.close()
  }

  #header(): SegmentIdentity | undefined {
    try {
      return decodeSegmentHeader(this.#bytes(0, SEGMENT_HEADER))
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Whether a whole valid group begins at `position`; `group` is before its first entry then. */
  readGroup(position: number): boolean {
    if (!this.readHead(position)) return false
    const bytes = this.#bytes(position, this.group.byteLength)
    // The window may have moved: the reader has to look at the new bytes.
    if (this.group.openHead(bytes, this.identity.salt, position) !== 0) return false
    return this.group.isWhole(bytes)
  }

  /** Whether header and table of a group at `position` are valid, whatever its batches are. */
  readHead(position: number): boolean {
    let need = GROUP_HEADER
    for (;;) {
      if (position + need > this.size) return false
      const result = this.group.openHead(this.#bytes(position, need), this.identity.salt, position)
      if (result <= 0) return result === 0
      need = result
    }
  }

  /** Bytes [position, position + length) of the segment, fewer at its end; valid until the next call. */
  bytes(position: number, length: number): Uint8Array {
    return this.#bytes(position, length)
  }

  /** Position of the first group header in [from, to) whose sequence is at least `sequenceMin`; -1 where there is none. */
  findGroup(from: number, to: number, sequenceMin: number): number {
    const pattern = groupPattern(this.identity.salt)
    for (let at = from; at < to; ) {
      // A copy, because looking at a hit moves the window.
      const window = Buffer.from(this.#bytes(at, WINDOW_BYTES))
      for (let hit = window.indexOf(pattern); hit >= 0; hit = window.indexOf(pattern, hit + 1))
        if (this.readHead(at + hit) && this.group.sequence >= sequenceMin) return at + hit
      if (window.length <= pattern.length) break
      at += window.length - pattern.length + 1
    }
    return -1
  }

  /** Position of the first such bytes from `from` on; -1 where there are none. */
  find(pattern: Buffer, from: number): number {
    for (let at = from; at + pattern.length <= this.size; at += WINDOW_BYTES - pattern.length + 1) {
      const { buffer, byteOffset, byteLength } = this.#bytes(at, WINDOW_BYTES)
      const hit = Buffer.from(buffer, byteOffset, byteLength).indexOf(pattern)
      if (hit >= 0) return at + hit
    }
    return -1
  }

  /** Whether nothing was begun at `position`: zeros as long as a header, or no room for one. */
  isEnd(position: number): boolean {
    if (position + GROUP_HEADER > this.size) return true
    return this.#bytes(position, GROUP_HEADER).every((byte) => byte === 0)
  }

  /** The position after the last byte that is not zero, at least `from`. */
  endOfContent(from: number): number {
    let end = from
    for (let at = from; at < this.size; at += WINDOW_BYTES) {
      const window = this.#bytes(at, WINDOW_BYTES)
      if (ZEROS.compare(window, 0, window.length, 0, window.length) === 0) continue
      let last = window.length - 1
      while (window[last] === 0) last--
      end = at + last + 1
    }
    return end
  }

  #bytes(position: number, length: number): Uint8Array {
    if (position >= this.#from && position + length <= this.#from + this.#filled)
      return this.#window.subarray(position - this.#from, position - this.#from + length)
    const wanted = Math.min(length, this.size - position)
    if (wanted > this.#window.length) this.#window = Buffer.alloc(Math.max(wanted, this.#window.length * 2))
    this.#from = position
    this.#filled = 0
    try {
      this.#filled = this.#handle.read(this.#window, position)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error
      // No torn tail, whatever comes after it: what is there may have been acknowledged.
      const segment = this.#segment
      throw corrupt(this.file, position, 'the disk cannot read all of it', { segment, isUnreadable: true })
    }
    return this.#window.subarray(0, Math.min(length, this.#filled))
  }
}
