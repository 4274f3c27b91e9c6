// Opening a journal: the checkpoint, then every group after it, then the end.
//
// A group that is not valid is the torn tail of a crash if and only if no valid group comes after it, because
// group n+1 is written only after the sync of n returned. Then it was never acknowledged and is cut: zeros
// are written over its header. With a later group behind it, it is damage to what was acknowledged: `log_corrupt`.
// Behind the last group there are zeros, as long as a header at least. What comes after them may be anything that the
// file held before, but no group of this segment.
//
// The last valid group is written once more and synced before anybody sees it. It may be there only in the
// page cache: written by a process that was killed before its sync returned, or whose sync failed, after which
// the kernel holds its pages for clean and a sync alone would not write them.
import path from 'node:path'
import type { Disk } from '../std/disk.ts'
import { CHECKPOINT_WRITING_NAME, readCheckpoint, removeIfThere } from './journal-checkpoint.ts'
import {
  ENTRY_BATCH,
  ENTRY_MOVED,
  ENTRY_MOVED_REFERENCE,
  ENTRY_POSITION,
  ENTRY_REFERENCE,
  ENTRY_TOPIC,
  GROUP_HEADER,
  type GroupReader,
  SEGMENT_HEADER,
  type SegmentIdentity,
  segmentName,
  segmentOfName,
} from './journal-format.ts'
import { corrupt, missingSegment, SegmentScanner } from './journal-scan.ts'
import type { JournalState } from './journal-state.ts'

/** Suffix of a segment file that is being zero-filled. */
export const PREPARING_SUFFIX = '.preparing'
/** Of one that is being removed. */
export const FREED_SUFFIX = '.freed'

/** What a crash left behind the last whole group, and is cut. None of it was acknowledged. */
export interface TornTail {
  file: string
  position: number
  /** Up to the last byte of the file that is not zero, or to the end of the group where its header is whole. */
  bytes: number
  /** First offsets that the torn group would have given, as far as it can still be read. */
  offsets: { topic: string; partition: number; baseOffset: number }[]
}

export interface Recovered {
  logId: string
  /** The segment to go on in, and where in it. */
  identity: SegmentIdentity
  position: number
  /** The next segment, whole and empty, as a process before prepared it. */
  prepared: SegmentIdentity | undefined
  /** Groups and bytes that were read again. */
  groupCount: number
  scannedBytes: number
  tornTail: TornTail | undefined
}

/** Applies the entries of the whole group that the reader stands on. */
export function applyGroup(state: JournalState, group: GroupReader, segment: number): void {
  state.sequence = group.sequence
  while (group.next()) {
    if (group.kind === ENTRY_TOPIC) {
      state.applyTopic(group.partition, group.text)
      continue
    }
    const partition = state.partitions[group.partition]
    if (partition === undefined) {
      // Only after a repair: the group that made the topic was damaged, and nobody can name its partitions.
      if (group.kind === ENTRY_BATCH) {
        group.readBatchFacts()
        state.applyOrphan(group.partition, group.baseOffset, group.lastOffsetDelta, segment)
      } else if (group.kind === ENTRY_REFERENCE)
        state.applyOrphan(group.partition, group.baseOffset, group.lastOffsetDelta, group.segment)
      continue
    }
    switch (group.kind) {
      case ENTRY_BATCH:
        group.readBatchFacts()
        state.applyBatch(
          partition,
          group.baseOffset,
          group.lastOffsetDelta,
          segment,
          group.position,
          group.batchBytes,
          group.maxTimestamp,
        )
        break
      case ENTRY_REFERENCE:
        state.applyBatch(
          partition,
          group.baseOffset,
          group.lastOffsetDelta,
          group.segment,
          group.position,
          group.batchBytes,
          group.maxTimestamp,
        )
        break
      case ENTRY_MOVED:
        state.applyMove(partition, group.baseOffset, segment, group.position, group.batchBytes)
        break
      case ENTRY_MOVED_REFERENCE:
        state.applyMove(partition, group.baseOffset, group.segment, group.position, group.batchBytes)
        break
      case ENTRY_POSITION:
        state.applyPosition(partition, group.text, group.nextOffset)
        break
    }
  }
}

/** Segment numbers in the folder, ascending. */
export function listSegments(disk: Disk, dir: string): number[] {
  const found: number[] = []
  for (const name of disk.list(dir)) {
    const segment = segmentOfName(name)
    if (segment !== undefined) found.push(segment)
  }
  return found.sort((a, b) => a - b)
}

/**
 * Fills an empty state from the journal in `dir`, repairs the end, and removes what a crash left over; undefined
 * where there is no journal yet. Throws `log_corrupt` with file and position. With `readOnly` nothing is
 * written: a torn tail is reported and passed over.
 */
export function recoverJournal(
  disk: Disk,
  dir: string,
  state: JournalState,
  readOnly = false,
): Recovered | undefined {
  const head = readCheckpoint(disk, dir, state)
  const onDisk = listSegments(disk, dir)
  if (head === undefined && onDisk.length === 0) {
    if (!readOnly) removeLeftovers(disk, dir, [])
    return undefined
  }
  const first = head?.segment ?? 1
  const present = new Set(onDisk)
  for (const segment of state.segments.keys()) if (!present.has(segment)) throw missingSegment(dir, segment)
  if (!present.has(first)) throw missingSegment(dir, first)
  const replay = onDisk.filter((segment) => segment >= first)
  replay.forEach((segment, i) => {
    if (segment !== first + i) throw missingSegment(dir, first + i)
  })
  const run = new Replay(disk, dir, state, head?.logId)
  const recovered = run.run(replay, head?.position ?? SEGMENT_HEADER)
  if (!readOnly) {
    // The names seen here may be in the page cache only (a process killed between rename and sync of the folder):
    // nothing may be removed because of them before they are durable.
    disk.syncDir(dir)
    run.repairEnd(recovered)
    // Those after the last group hold a torn one or were not filled: they are made anew.
    const later = replay.filter(
      (segment) => segment > recovered.identity.segment && segment !== recovered.prepared?.segment,
    )
    const unneeded = onDisk.filter((segment) => segment < first && !state.segments.has(segment))
    removeLeftovers(disk, dir, [...unneeded, ...later])
  }
  return recovered
}

function removeLeftovers(disk: Disk, dir: string, segments: number[]): void {
  removeIfThere(disk, path.join(dir, CHECKPOINT_WRITING_NAME))
  for (const name of disk.list(dir))
    if ([PREPARING_SUFFIX, FREED_SUFFIX].some((suffix) => name.endsWith(`.segment${suffix}`)))
      disk.unlink(path.join(dir, name))
  for (const segment of segments) disk.unlink(path.join(dir, segmentName(segment)))
  if (segments.length > 0) disk.syncDir(dir)
}

/** What is read again: from the checkpoint's place to the last valid group. */
class Replay {
  readonly #disk: Disk
  readonly #dir: string
  readonly #state: JournalState
  readonly #logId: string | undefined
  /** Place of the last valid group that was read. */
  #last: { segment: number; position: number; byteLength: number } | undefined

  constructor(disk: Disk, dir: string, state: JournalState, logId: string | undefined) {
    this.#disk = disk
    this.#dir = dir
    this.#state = state
    this.#logId = logId
  }

  run(segments: number[], firstPosition: number): Recovered {
    let logId = this.#logId
    let recovered: Recovered | undefined
    let groupCount = 0
    let scannedBytes = 0
    for (const segment of segments) {
      const scanner = new SegmentScanner(this.#disk, this.#dir, segment, logId)
      try {
        logId = scanner.identity.logId
        const from = segment === segments[0] ? firstPosition : SEGMENT_HEADER
        let position = from
        while (scanner.readGroup(position) && scanner.group.firstSequence === this.#state.sequence + 1) {
          if (!this.#state.segments.has(segment)) this.#state.addSegment(segment)
          const { byteLength } = scanner.group
          applyGroup(this.#state, scanner.group, segment)
          this.#last = { segment, position, byteLength }
          position += byteLength
          groupCount++
        }
        scannedBytes += position - from
        const isEnd = scanner.isEnd(position)
        if (recovered === undefined || position > from) {
          recovered = {
            logId,
            identity: scanner.identity,
            position,
            prepared: undefined,
            groupCount: 0,
            scannedBytes: 0,
            tornTail: undefined,
          }
        }
        this.#refuseLater(scanner, position, recovered)
        const isNext = segment === recovered.identity.segment + 1 && position === SEGMENT_HEADER
        if (isNext && isEnd && scanner.size > SEGMENT_HEADER) recovered.prepared = scanner.identity
        if (!isEnd) recovered.tornTail ??= this.#tornTail(scanner, position)
      } finally {
        scanner.close()
      }
    }
    recovered!.groupCount = groupCount
    recovered!.scannedBytes = scannedBytes
    if (!this.#state.segments.has(recovered!.identity.segment))
      this.#state.addSegment(recovered!.identity.segment)
    return recovered!
  }

  /** Throws where something valid lies behind what is not: at `position` is damage then, and no torn tail. */
  #refuseLater(scanner: SegmentScanner, position: number, recovered: Recovered): void {
    const next = this.#state.sequence + 1
    if (scanner.readHead(position) && scanner.group.sequence > next)
      throw corrupt(
        path.join(this.#dir, segmentName(recovered.identity.segment)),
        recovered.position,
        `group ${next} is missing, ${scanner.group.sequence} follows;`,
        { segment: recovered.identity.segment, sequence: next },
      )
    const later = scanner.findGroup(position + 1, scanner.size, next)
    if (later >= 0)
      throw corrupt(scanner.file, position, `invalid group, with a valid one after it at ${later},`, {
        segment: scanner.identity.segment,
        sequence: next,
      })
  }

  /** Cuts the torn tail and makes the last group durable beyond doubt. */
  repairEnd(recovered: Recovered): void {
    const file = this.#disk.open(path.join(this.#dir, segmentName(recovered.identity.segment)), 'write')
    try {
      const headerBytes = Math.min(GROUP_HEADER, file.size() - recovered.position)
      if (headerBytes > 0) file.write([new Uint8Array(headerBytes)], recovered.position)
      if (this.#last?.segment === recovered.identity.segment) {
        const bytes = new Uint8Array(this.#last.byteLength)
        file.read(bytes, this.#last.position)
        file.write([bytes], this.#last.position)
      }
      file.sync()
    } finally {
      file.close()
    }
  }

  #tornTail(scanner: SegmentScanner, position: number): TornTail {
    const { file } = scanner
    const offsets: TornTail['offsets'] = []
    const contentBytes = scanner.endOfContent(position) - position
    if (!scanner.readHead(position)) return { file, position, bytes: contentBytes, offsets }
    const bytes = Math.min(scanner.group.byteLength, contentBytes)
    while (scanner.group.next()) {
      const { kind, partition, baseOffset } = scanner.group
      const state = this.#state.partitions[partition]
      if ((kind === ENTRY_BATCH || kind === ENTRY_REFERENCE) && state !== undefined)
        offsets.push({ topic: state.topic.topic.name, partition: state.partition, baseOffset })
    }
    return { file, position, bytes, offsets }
  }
}
