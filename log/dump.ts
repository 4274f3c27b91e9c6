// Reads a journal without its lock and without changing a byte: for `millrace log dump`, on a folder that is in
// use, or that a crash left. What a running process appends meanwhile may or may not be seen.
import { type Disk, NodeDisk } from '../std/disk.ts'
import { MillraceError } from '../std/errors.ts'
import { PLACE, SegmentReader } from './journal-read.ts'
import { recoverJournal, type TornTail } from './journal-recovery.ts'
import { JournalState, type PartitionState } from './journal-state.ts'
import type { Topic } from './log.ts'
import { type RecordHeader, RecordReader } from './record-batch.ts'

export interface DumpedRecord {
  topic: string
  partition: number
  offset: number
  /** Milliseconds since 1970. */
  timestamp: number
  /** Null key or value: undefined. Bytes are copies. */
  key: Uint8Array | undefined
  value: Uint8Array | undefined
  headers: RecordHeader[]
}

export interface DumpedPartition {
  topic: Topic
  partition: number
  start: number
  end: number
  /** Bytes of its batches. */
  bytes: number
  /** Next offset by stage. */
  positions: Map<string, number>
}

/** A process at work frees segments and replaces checkpoints: what was read together may not fit together. */
const ATTEMPTS = 5
const READ_BYTES = 1 << 20

export class LogDump {
  /** UUID of the log. */
  readonly id: string
  /** What lies behind the last whole group: of a crash, or being written just now. */
  readonly tornTail: TornTail | undefined
  readonly #disk: Disk
  readonly #dir: string
  readonly #state: JournalState

  /** Throws `log_corrupt`; `topic_unknown` where the folder holds no journal. */
  constructor(dir: string, disk: Disk = new NodeDisk()) {
    this.#disk = disk
    this.#dir = dir
    for (let attempt = 1; ; attempt++) {
      const state = new JournalState(Date.now)
      try {
        const recovered = recoverJournal(disk, dir, state, true)
        if (recovered === undefined) throw new MillraceError('topic_unknown', `no log in ${dir}`, { dir })
        this.id = recovered.logId
        this.tornTail = recovered.tornTail
        this.#state = state
        return
      } catch (error) {
        const { code } = error as { code?: string }
        if ((code !== 'log_corrupt' && code !== 'ENOENT') || attempt === ATTEMPTS) throw error
      }
    }
  }

  partitions(): DumpedPartition[] {
    return this.#state.partitions.filter((partition) => partition !== undefined).map(describe)
  }

  /**
   * The records of a partition in the order of their offsets, from `offset` on (the partition's start where that
   * is later). Batches that vanish meanwhile (retention of the running process), or are damaged, are passed over.
   * `log repair` names the damaged ones.
   */
  *records(topic: string, partition: number, offset = 0): Generator<DumpedRecord> {
    const state = this.#state.topics.get(topic)?.partitions[partition]
    if (state === undefined)
      throw new MillraceError('topic_unknown', `no partition ${topic}/${partition}`, { topic, partition })
    const reader = new SegmentReader(this.#disk, this.#dir)
    const records = new RecordReader()
    try {
      for (let row = state.index.find(offset); row < state.index.length; ) {
        const places: number[] = []
        for (let bytes = 0; row < state.index.length && bytes < READ_BYTES; row++) {
          const { index } = state
          bytes += index.bytes(row)
          places.push(index.segment(row), index.position(row), index.bytes(row), index.baseOffset(row))
        }
        for (const batch of this.#batches(reader, places)) {
          records.reset(batch)
          while (records.next()) if (records.offset >= offset) yield dumped(topic, partition, records)
        }
      }
    } finally {
      reader.close()
    }
  }

  /** The bytes of the places, all together where they can be read, else one by one. */
  *#batches(reader: SegmentReader, places: number[]): Generator<Uint8Array> {
    const all = reader.read(places, 0)
    if (all !== undefined) {
      yield all
      return
    }
    for (let i = 0; i < places.length; i += PLACE) {
      const batch = reader.read(places.slice(i, i + PLACE), 0)
      if (batch !== undefined) yield batch
    }
  }
}

function describe(state: PartitionState): DumpedPartition {
  const { topic, partition, start, end, bytes, positions } = state
  return { topic: topic.topic, partition, start, end, bytes, positions: new Map(positions) }
}

function dumped(topic: string, partition: number, records: RecordReader): DumpedRecord {
  const { bytes, offset, timestamp, keyStart, keyEnd, valueStart, valueEnd } = records
  return {
    topic,
    partition,
    offset,
    timestamp,
    key: keyStart < 0 ? undefined : bytes.slice(keyStart, keyEnd),
    value: valueStart < 0 ? undefined : bytes.slice(valueStart, valueEnd),
    headers: records.headers(),
  }
}
