// The segment files of a journal: the one that is written, the next one prepared ahead, the ones to be freed.
//
// A segment is filled with zeros before its first group: writing and syncing into blocks that exist takes half
// the time of appending (no size, no extent to be made durable). A file gets its name only when header and
// zeros are synced, so that a segment that has its name has a valid header. Where none is prepared in time,
// the next one is used unfilled: slower, never wrong. While groups are large the next one is not filled either
// (journal-zeros.ts). The first one of a new log is short, so that its zeros are there at once.
//
// Once segments are freed, the next one is made of the last of them, as it is: its blocks exist, and nothing is given back to
// the disk or asked of it while the log goes round (docs/decisions/0014).
//
// Groups go past the page cache where the file system knows how (docs/decisions/0012), always in whole blocks
// (journal-tail.ts).
import path from 'node:path'
import { DirectFile } from '../std/direct-file.ts'
import { DIRECT_BLOCK_BYTES, type Disk, type DiskFile } from '../std/disk.ts'
import { removeIfThere } from './journal-checkpoint.ts'
import { StepFiller, type ZeroFiller } from './journal-fill.ts'
import {
  encodeSegmentHeader,
  GROUP_HEADER,
  newSalt,
  SEGMENT_HEADER,
  type SegmentIdentity,
  segmentName,
} from './journal-format.ts'
import type { FileRemover } from './journal-free.ts'
import { FREED_SUFFIX, PREPARING_SUFFIX } from './journal-recovery.ts'
import type { JournalTail } from './journal-tail.ts'
import { ZeroRule } from './journal-zeros.ts'

/** Bytes of the first segment of a new log. */
const FIRST_SEGMENT_BYTES = 16 << 20
/** Bytes that are filled at a time where nobody waits for a commit. */
const MAKE_STEP_BYTES = 4 << 20
/** The next segment is filled by so many times the share of the current one that is written. */
const FILL_AHEAD = 1.5

/** A file has at least this part of a segment's bytes to be used again. */
const REUSED_PART_MIN = 0.5

/** In the place of a group's header. */
const NO_HEADER = new Uint8Array(GROUP_HEADER)

interface OpenSegment {
  identity: SegmentIdentity
  file: DirectFile
  /** Size of the file when it was opened: up to there it held zeros, or groups, its own or others. */
  filledBytes: number
}

/** A freed file of which the next segment will be made. */
interface Spare {
  path: string
  /** Number of the free. */
  generation: number
}

export class SegmentStore {
  /** Segments that were made of freed ones. */
  reusedCount = 0
  /** Where the next group goes. */
  position: number
  readonly #disk: Disk
  readonly #dir: string
  readonly #segmentBytes: number
  readonly #filler: ZeroFiller
  readonly #remover: FileRemover
  readonly #tail: JournalTail
  #current: OpenSegment
  /** Bytes of the current file that groups may use. */
  #size: number
  #prepared: OpenSegment | undefined
  /** The file being filled. */
  #filling: string | undefined
  #fillCount = 0
  #spare: Spare | undefined
  readonly #zeros = new ZeroRule()
  #writeStarted = 0

  /** Goes on in a recovered segment, with the next one where it is prepared, or (`position` undefined) makes the first one of a new log. */
  constructor(
    disk: Disk,
    dir: string,
    segmentBytes: number,
    filler: ZeroFiller,
    remover: FileRemover,
    tail: JournalTail,
    identity: SegmentIdentity,
    position: number | undefined,
    prepared: SegmentIdentity | undefined,
  ) {
    this.#disk = disk
    this.#dir = dir
    this.#segmentBytes = segmentBytes
    this.#filler = filler
    this.#remover = remover
    this.#tail = tail
    this.position = position ?? SEGMENT_HEADER
    if (position === undefined) {
      this.#size = Math.min(segmentBytes, FIRST_SEGMENT_BYTES)
      this.#current = this.#make(identity, this.#size)
    } else {
      this.#current = this.#open(identity)
      this.#size = Math.max(segmentBytes, this.#current.filledBytes)
    }
    this.#read((file) => tail.open(this.segment, file, this.position))
    if (prepared !== undefined) this.#prepared = this.#open(prepared)
  }

  get segment(): number {
    return this.#current.identity.segment
  }

  get salt(): Uint8Array {
    return this.#current.identity.salt
  }

  /** Whether the next segment is ready. */
  get hasPrepared(): boolean {
    return this.#prepared !== undefined
  }

  /** Whether a freed file is there, so that the next segment takes no space. */
  get hasSpare(): boolean {
    return this.#spare !== undefined
  }

  hasRoom(bytes: number): boolean {
    return this.position + bytes <= this.#size
  }

  /** The largest group that fits a segment. */
  get groupBytesMax(): number {
    return this.#segmentBytes - SEGMENT_HEADER
  }

  /**
   * Writes the parts of a group at `position`. Until `sync` returned the next group goes to the same place. When it
   * throws ENOSPC nothing that could pass for a group is there.
   */
  write(parts: readonly Uint8Array[]): void {
    this.#writeStarted = performance.now()
    try {
      const { file, filledBytes } = this.#current
      this.#tail.write(file, parts, this.position, filledBytes)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') this.#takeBack()
      throw error
    }
  }

  /**
   * The space may have ended only in the zeros behind a whole group, and who asked for it will ask again. All of its
   * header goes: one byte of it would come back with the first sector of the next group, if the power fails before the
   * second is there.
   */
  #takeBack(): void {
    const { file, filledBytes } = this.#current
    try {
      this.#read((current) => this.#tail.reload(current, this.position))
      const header = NO_HEADER.subarray(0, Math.max(0, file.size() - this.position))
      if (header.length === 0) return
      if (file.isDirect) this.#tail.write(file, [header], this.position, filledBytes)
      else file.write([header], this.position)
      file.sync()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      throw new Error('a group for which there was no space cannot be taken back', { cause: error })
    }
  }

  /** Makes the group of `byteLength` bytes that was just written durable, and moves on. */
  sync(byteLength: number): void {
    this.#current.file.sync()
    this.position += byteLength
    this.#zeros.committed(byteLength, performance.now() - this.#writeStarted)
  }

  /** Goes on in the next segment. */
  roll(): void {
    const next = this.#prepared ?? this.#make(this.#nextIdentity())
    this.#prepared = undefined
    this.#zeros.endSegment(this.#current.filledBytes >= this.position)
    this.#current.file.close()
    this.#current = next
    this.#size = Math.max(this.#segmentBytes, next.filledBytes)
    this.position = SEGMENT_HEADER
    this.#read((file) => this.#tail.open(this.segment, file, this.position))
  }

  /** A piece of preparing the next segment; false when there is nothing to do now. Throws what the disk throws: then `abandonPrepared`. */
  prepareStep(): boolean {
    if (this.#prepared !== undefined) return false
    if (this.#filling === undefined && this.#spare !== undefined) {
      this.#prepared = this.#reuse(this.#spare)
      if (this.#prepared !== undefined) return true
    }
    if (this.#filling === undefined) {
      // A name of its own each time: an abandoned filler may still be at work on the last one.
      const file = path.join(this.#dir, `next${this.#fillCount++}.segment${PREPARING_SUFFIX}`)
      this.#filler.start(file, this.#zeros.wantsZeros ? this.#segmentBytes : 0)
      this.#filling = file
      return true
    }
    const progress = this.#filler.step(this.#segmentBytes * (this.position / this.#size) * FILL_AHEAD)
    if (progress !== 'done') return progress === 'more'
    const file = this.#disk.open(this.#filling, 'write')
    this.#filling = undefined
    this.#prepared = this.#name(file, this.#nextIdentity())
    return true
  }

  /** Undefined where somebody has taken the file away. */
  #reuse(spare: Spare): OpenSegment | undefined {
    this.#spare = undefined
    if (!this.#disk.exists(spare.path)) return undefined
    // After a crash it may have its old name, under which nobody looks for anything: no checkpoint names it any more.
    this.#tail.reuse(spare.generation)
    const segment = this.#name(this.#disk.open(spare.path, 'write'), this.#nextIdentity())
    this.reusedCount++
    return segment
  }

  /** Removes the freed file that was kept: its space is wanted, or nobody will need it. */
  dropSpare(): void {
    const spare = this.#spare
    this.#spare = undefined
    if (spare !== undefined) this.#remover.remove(spare.path)
  }

  /** Gives back what was prepared or begun: the disk is full. */
  abandonPrepared(): void {
    this.dropSpare()
    if (this.#filling !== undefined) this.#filler.abandon()
    this.#filling = undefined
    const prepared = this.#prepared
    this.#prepared = undefined
    if (prepared === undefined) return
    prepared.file.close()
    this.#disk.unlink(this.#path(prepared.identity.segment))
  }

  /**
   * Removes a segment file that the checkpoint in place does not name any more, or keeps it for the next segment. Its name
   * goes first: who opens a segment, also another process that dumps the log, finds a whole one or none. `generation`: the
   * number of frees, with this one.
   */
  free(segment: number, generation: number): void {
    const file = this.#path(segment)
    if (!this.#disk.exists(file)) return
    const byteLength = this.fileBytes(segment)
    const freed = file + FREED_SUFFIX
    this.#disk.rename(file, freed)
    const isOfUse =
      byteLength >= this.#segmentBytes * REUSED_PART_MIN &&
      byteLength <= this.#segmentBytes + DIRECT_BLOCK_BYTES
    if (isOfUse && this.#spare === undefined) this.#spare = { path: freed, generation }
    else this.#remover.remove(freed)
  }

  /** Size of a segment's file, 0 where somebody has taken it away. */
  fileBytes(segment: number): number {
    const name = this.#path(segment)
    if (!this.#disk.exists(name)) return 0
    const file = this.#disk.open(name, 'read')
    try {
      return file.size()
    } finally {
      file.close()
    }
  }

  close(): void {
    if (this.#filling !== undefined) this.#filler.abandon()
    this.#filling = undefined
    this.dropSpare()
    this.#prepared?.file.close()
    this.#current.file.close()
    this.#remover.close()
  }

  #path(segment: number): string {
    return path.join(this.#dir, segmentName(segment))
  }

  #nextIdentity(): SegmentIdentity {
    const { logId, segment } = this.#current.identity
    return { logId, segment: segment + 1, salt: newSalt() }
  }

  /** Makes a segment at once, with zeros as far as there is space for them: groups do without. */
  #make(identity: SegmentIdentity, filledBytes = 0): OpenSegment {
    const file = this.#path(identity.segment) + PREPARING_SUFFIX
    removeIfThere(this.#disk, file)
    const filler = new StepFiller(this.#disk, MAKE_STEP_BYTES)
    filler.start(file, filledBytes)
    try {
      while (filler.step() !== 'done');
    } catch (error) {
      filler.close()
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    }
    return this.#name(this.#disk.open(file, 'write'), identity)
  }

  /** Gives a file its header and its name, durably. */
  #name(file: DiskFile, identity: SegmentIdentity): OpenSegment {
    try {
      const header = encodeSegmentHeader(identity)
      // In a file that is used again, what it held begins right behind it.
      file.write(file.size() > SEGMENT_HEADER ? [header, NO_HEADER] : [header], 0)
      file.sync()
    } catch (error) {
      // Who asks again makes another file: this one would keep the space that is wanted.
      file.close()
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') removeIfThere(this.#disk, file.path)
      throw error
    }
    file.close()
    const name = this.#path(identity.segment)
    this.#disk.rename(file.path, name)
    this.#disk.syncDir(this.#dir)
    return this.#open(identity)
  }

  #open(identity: SegmentIdentity): OpenSegment {
    const file = new DirectFile(this.#disk, this.#path(identity.segment))
    return { identity, file, filledBytes: file.size() }
  }

  /** Reads from the current file, of any place and length: a direct file cannot. */
  #read(use: (file: DiskFile) => void): void {
    const file = this.#disk.open(this.#path(this.segment), 'read')
    try {
      use(file)
    } finally {
      file.close()
    }
  }
}
