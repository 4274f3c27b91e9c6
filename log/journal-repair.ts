// Repair of a journal that recovery refuses: what is damaged is copied, cut out and named; what is whole stays.
//
//   unreadable sector zeros take its place, in another one that the disk finds for them; then what it was part of is damaged
//   damaged group     a void group takes its place, up to the next valid group
//   segment header    written again, with the salt that its groups show
//   missing segment   an empty one takes its place; where it is the first and there is no checkpoint, the repair gives up:
//                     nobody knows what the topics are called
//   damaged batch     (CRC) its entry is forgotten; `log repair` reads every batch for that
//   checkpoint        set aside where all segments from the first on are there; else the repair gives up
//
// Every file is copied to `damaged-N/` in the journal's folder before its first change. Offsets that are lost
// stay gaps, except at the end of a partition, where they will be given anew: a table that holds them already
// has to be rolled back to before them.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { type Disk, type DiskFile, makeDirDurable } from '../std/disk.ts'
import { MillraceError } from '../std/errors.ts'
import {
  CHECKPOINT_NAME,
  CHECKPOINT_STEP_BYTES,
  CheckpointWriter,
  readCheckpoint,
  removeIfThere,
} from './journal-checkpoint.ts'
import {
  encodeSegmentHeader,
  GroupBuilder,
  newSalt,
  SEGMENT_HEADER,
  segmentName,
  VOID_GROUP_BYTES,
} from './journal-format.ts'
import { SegmentReader } from './journal-read.ts'
import { listSegments, type Recovered, recoverJournal } from './journal-recovery.ts'
import { findSalt } from './journal-salt.ts'
import { SegmentScanner } from './journal-scan.ts'
import { JournalState } from './journal-state.ts'

export interface RepairedPlace {
  file: string
  position: number
  /** In words, with file and position. */
  what: string
}

export interface LostOffsets {
  /** Undefined where the group that made the topic was damaged: its records cannot be named any more. */
  topic: string | undefined
  /** Of the topic; the journal's own number of it where the topic is undefined. */
  partition: number
  /** [from, to) */
  from: number
  to: number
}

export interface RepairReport {
  /** Folder with the copies; undefined where nothing had to be changed. */
  copies: string | undefined
  repaired: RepairedPlace[]
  /** Gaps in topics that are not compacted, batches that could not be read, and all of a topic that lost its name. */
  lost: LostOffsets[]
}

/** Damages after which a repair gives up: this is no journal any more. */
const REPAIRS_MAX = 1000

/** Repairs the journal in `dir`. The caller holds the data folder's lock. Throws `log_corrupt` where it cannot be repaired. */
export function repairJournal(disk: Disk, dir: string): RepairReport {
  return new Repair(disk, dir).run()
}

const isCorrupt = (error: unknown): error is MillraceError =>
  error instanceof MillraceError && error.code === 'log_corrupt'

/** What is read as one where the disk cannot read all: a page, so that it is written without being read. */
const BLOCK_BYTES = 4096

/** Reads as `DiskFile.read` does, zeros where the disk cannot; `unreadable` gets those blocks, and where they lie. */
function readAround(
  file: DiskFile,
  into: Uint8Array,
  position: number,
  unreadable?: (zeros: Uint8Array, position: number) => void,
): number {
  const isUnreadable = (bytes: Uint8Array, at: number): boolean => {
    try {
      file.read(bytes, at)
      return false
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error
      return true
    }
  }
  const count = Math.max(0, Math.min(into.length, file.size() - position))
  if (!isUnreadable(into.subarray(0, count), position)) return count
  for (let at = 0; at < count; at += BLOCK_BYTES) {
    const block = into.subarray(at, Math.min(at + BLOCK_BYTES, count))
    if (!isUnreadable(block, position + at)) continue
    block.fill(0)
    unreadable?.(block, position + at)
  }
  return count
}

class Repair {
  readonly #disk: Disk
  readonly #dir: string
  readonly #copied = new Set<string>()
  #copies: string | undefined
  readonly #repaired: RepairedPlace[] = []

  constructor(disk: Disk, dir: string) {
    this.#disk = disk
    this.#dir = dir
  }

  run(): RepairReport {
    for (let i = 0; i < REPAIRS_MAX; i++) {
      const state = new JournalState(Date.now)
      let recovered: Recovered | undefined
      try {
        recovered = recoverJournal(this.#disk, this.#dir, state, true)
      } catch (error) {
        if (!isCorrupt(error)) throw error
        this.#repairAfter(error)
        continue
      }
      const lost = recovered === undefined ? [] : this.#verify(state, recovered)
      return { copies: this.#copies, repaired: this.#repaired, lost }
    }
    throw new MillraceError('log_corrupt', `${this.#dir}: more than ${REPAIRS_MAX} places are damaged`)
  }

  /** A repair may come upon another damage that has to be repaired first. */
  #repairAfter(error: MillraceError): void {
    try {
      this.#repair(error)
    } catch (other) {
      if (!isCorrupt(other)) throw other
      const { file, isUnreadable } = other.details
      if (file === undefined || (file === error.details['file'] && isUnreadable !== true)) throw other
      this.#repair(other)
    }
  }

  #repair(error: MillraceError): void {
    const { file, position, segment, sequence, isUnreadable } = error.details as {
      file: string
      position: number
      segment?: number
      sequence?: number
      isUnreadable?: boolean
    }
    if (segment !== undefined && isUnreadable === true) this.#overwriteUnreadable(segmentName(segment))
    else if (segment !== undefined && sequence !== undefined) this.#cutGroup(segment, position, sequence)
    else if (segment !== undefined) this.#restoreSegment(segment)
    else if (path.basename(file) === CHECKPOINT_NAME) this.#setCheckpointAside(error)
    else throw error
    this.#repaired.push({ file, position, what: error.message })
  }

  /** Of a sector that is written a disk makes one that can be read. */
  #overwriteUnreadable(name: string): void {
    this.#change(name)
    const file = this.#disk.open(path.join(this.#dir, name), 'write')
    readAround(file, new Uint8Array(file.size()), 0, (zeros, position) => file.write([zeros], position))
    file.sync()
    file.close()
  }

  /** Puts a void group over what is not valid at `position`, up to the next valid group. */
  #cutGroup(segment: number, position: number, sequence: number): void {
    const scanner = new SegmentScanner(this.#disk, this.#dir, segment, undefined)
    let bytes: number
    let last: number
    try {
      const end = scanner.endOfContent(position)
      const next = scanner.findGroup(position + 1, end, sequence + 1)
      bytes = (next < 0 ? end : next) - position
      if (next >= 0) scanner.readHead(next)
      const after = next >= 0 ? scanner.group.firstSequence : this.#firstSequenceAfter(segment)
      if (after === undefined)
        throw new MillraceError('log_corrupt', `${this.#dir}: no valid group after segment ${segment}`)
      last = after - 1
    } finally {
      scanner.close()
    }
    const skipped = Math.max(0, bytes - VOID_GROUP_BYTES)
    this.#change(segmentName(segment))
    this.#writeVoid(segment, position, scanner.identity.salt, sequence, last, skipped)
  }

  #writeVoid(
    segment: number,
    position: number,
    salt: Uint8Array,
    first: number,
    last: number,
    skipped: number,
  ): void {
    const builder = new GroupBuilder()
    builder.addVoid(first, skipped)
    const file = this.#disk.open(path.join(this.#dir, segmentName(segment)), 'write')
    file.write([...builder.finish(last, salt), new Uint8Array(skipped)], position)
    file.sync()
    file.close()
  }

  /** The sequence of the first valid group in the segments after `segment`; undefined where there is none. */
  #firstSequenceAfter(segment: number): number | undefined {
    for (const later of listSegments(this.#disk, this.#dir)) {
      if (later <= segment) continue
      const scanner = new SegmentScanner(this.#disk, this.#dir, later, undefined)
      try {
        const found = scanner.findGroup(SEGMENT_HEADER, scanner.endOfContent(SEGMENT_HEADER), 0)
        if (found >= 0 && scanner.readHead(found)) return scanner.group.firstSequence
      } finally {
        scanner.close()
      }
    }
    return undefined
  }

  /** A header for a segment that has none, with the salt of its groups; an empty file where there is no file. */
  #restoreSegment(segment: number): void {
    const name = segmentName(segment)
    const file = path.join(this.#dir, name)
    const exists = this.#disk.exists(file)
    const [first] = listSegments(this.#disk, this.#dir)
    if (first !== undefined && segment < first && !this.#disk.exists(path.join(this.#dir, CHECKPOINT_NAME)))
      throw new MillraceError(
        'log_corrupt',
        `${this.#dir}: there is neither a checkpoint nor segment ${segment}, and ${first} is the first: what the topics are called is lost with them`,
      )
    const logId = this.#logId(segment)
    if (exists) {
      const hasBefore = this.#disk.exists(path.join(this.#dir, segmentName(segment - 1)))
      const sequenceMin = hasBefore ? this.#lastSequenceBefore(segment, 0) + 1 : 0
      const salt = findSalt(this.#disk, this.#dir, logId, segment, sequenceMin) ?? newSalt()
      this.#change(name)
      const handle = this.#disk.open(file, 'write')
      handle.write([encodeSegmentHeader({ logId, segment, salt })], 0)
      handle.sync()
      handle.close()
      return
    }
    const salt = newSalt()
    const made = this.#disk.open(file, 'create')
    made.write([encodeSegmentHeader({ logId, segment, salt })], 0)
    made.sync()
    made.close()
    this.#disk.syncDir(this.#dir)
    this.#voidMissing(segment, salt)
  }

  /** An empty segment among those to be replayed needs a group that stands for what it held. */
  #voidMissing(segment: number, salt: Uint8Array): void {
    const head = readCheckpoint(this.#disk, this.#dir, new JournalState(Date.now))
    if (head !== undefined && segment < head.segment) return
    const after = this.#firstSequenceAfter(segment)
    // Nothing follows: the log goes on with the next sequence.
    if (after === undefined) return
    const before = this.#lastSequenceBefore(segment, head?.sequence ?? 0)
    this.#writeVoid(segment, SEGMENT_HEADER, salt, before + 1, after - 1, 0)
  }

  #lastSequenceBefore(segment: number, sequence: number): number {
    let last = sequence
    const scanner = new SegmentScanner(this.#disk, this.#dir, segment - 1, undefined)
    try {
      const end = scanner.endOfContent(SEGMENT_HEADER)
      for (let at = SEGMENT_HEADER; at >= 0; ) {
        if (scanner.readHead(at)) {
          last = Math.max(last, scanner.group.sequence)
          at += scanner.group.byteLength
        } else at = scanner.findGroup(at + 1, end, last + 1)
      }
    } finally {
      scanner.close()
    }
    return last
  }

  #logId(damaged: number): string {
    const head = readCheckpoint(this.#disk, this.#dir, new JournalState(Date.now))
    if (head !== undefined) return head.logId
    for (const segment of listSegments(this.#disk, this.#dir)) {
      if (segment === damaged) continue
      const scanner = new SegmentScanner(this.#disk, this.#dir, segment, undefined)
      scanner.close()
      return scanner.identity.logId
    }
    return randomUUID()
  }

  /** Without a checkpoint everything is replayed; that needs every segment there ever was. */
  #setCheckpointAside(error: MillraceError): void {
    const segments = listSegments(this.#disk, this.#dir)
    if (segments[0] !== 1 || segments.at(-1) !== segments.length) throw error
    this.#change(CHECKPOINT_NAME)
    removeIfThere(this.#disk, path.join(this.#dir, CHECKPOINT_NAME))
    this.#disk.syncDir(this.#dir)
  }

  /** Reads every batch, forgets those that cannot be read, and returns what is lost. */
  #verify(state: JournalState, recovered: Recovered): LostOffsets[] {
    const reader = new SegmentReader(this.#disk, this.#dir)
    const lost: LostOffsets[] = []
    let forgotten = 0
    for (const partition of state.partitions) {
      if (partition === undefined) continue
      const { index } = partition
      const unreadable = new Set<number>()
      for (let row = 0; row < index.length; row++) {
        const place = [index.segment(row), index.position(row), index.bytes(row), index.baseOffset(row)]
        if (reader.read(place, 0) === undefined) unreadable.add(index.baseOffset(row))
      }
      const name = partition.topic.topic.name
      const compacted = partition.topic.topic.config.cleanup === 'compact'
      let next = partition.start
      for (let row = 0; row < index.length; row++) {
        const base = index.baseOffset(row)
        if (unreadable.has(base))
          lost.push({ topic: name, partition: partition.partition, from: base, to: index.nextOffset(row) })
        else if (base > next && !compacted)
          lost.push({ topic: name, partition: partition.partition, from: next, to: base })
        next = index.nextOffset(row)
      }
      forgotten += unreadable.size
      state.removeBatches(partition, unreadable)
    }
    reader.close()
    for (const [id, { from, to, segments }] of state.orphans) {
      lost.push({ topic: undefined, partition: id, from, to })
      // Their bytes are whole, but nothing holds them any more: the segment may be freed at any time.
      if (this.#repaired.length > 0) for (const segment of segments) this.#change(segmentName(segment))
    }
    if (forgotten > 0) this.#writeCheckpoint(state, recovered)
    return lost
  }

  #writeCheckpoint(state: JournalState, recovered: Recovered): void {
    if (this.#disk.exists(path.join(this.#dir, CHECKPOINT_NAME))) this.#change(CHECKPOINT_NAME)
    const { identity, position, logId } = recovered
    const segments = [...state.segments.values()]
      .filter(({ segment, liveCount }) => segment < identity.segment && liveCount > 0)
      .map(({ segment }) => segment)
    for (const segment of state.segments.keys())
      if (segment < identity.segment && !segments.includes(segment)) this.#change(segmentName(segment))
    const head = { logId, sequence: state.sequence, segment: identity.segment, position, segments }
    const writer = new CheckpointWriter(this.#disk, this.#dir, state, head, CHECKPOINT_STEP_BYTES)
    while (!writer.step());
    this.#repaired.push({
      file: CHECKPOINT_NAME,
      position: 0,
      what: `${CHECKPOINT_NAME}: batches that cannot be read are forgotten`,
    })
  }

  /** Copies a file before its first change. */
  #change(name: string): void {
    if (this.#copied.has(name)) return
    this.#copied.add(name)
    if (this.#copies === undefined) {
      let n = 1
      while (this.#disk.exists(path.join(this.#dir, `damaged-${n}`))) n++
      this.#copies = path.join(this.#dir, `damaged-${n}`)
      makeDirDurable(this.#disk, this.#copies)
    }
    const from = this.#disk.open(path.join(this.#dir, name), 'read')
    const to = this.#disk.open(path.join(this.#copies, name), 'create')
    const piece = new Uint8Array(1 << 20)
    for (let at = 0, count = readAround(from, piece, 0); count > 0; count = readAround(from, piece, at)) {
      to.write([piece.subarray(0, count)], at)
      at += count
    }
    to.sync()
    to.close()
    from.close()
    this.#disk.syncDir(this.#copies)
  }
}
