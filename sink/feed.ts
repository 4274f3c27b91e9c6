// One table and the topic it is filled from. The log is the buffer: nothing is decoded before it is time to
// commit, so a thousand quiet tables cost no memory, and what a commit needs is bounded by its byte budget.
//
//   open     the table exists and fits; its ancestry says where the log is to be read from
//   stage    read, decode, sort, encode; files are durable, nobody sees them
//   commit   one compare-and-swap (commit.ts); then the stage's position tells the log what it may free
//
// A stale stage (another writer, a rollback, a schema change) throws its files away and opens anew.

import type { Log, StagePosition } from '../log/log.ts'
import { invariant, MillraceError } from '../std/errors.ts'
import { type LoadedTable, printTableId, type TableId } from './catalog.ts'
import { type CommitTools, commitStaged, discard, type Staged } from './commit.ts'
import type { TableEncoder } from './data-file.ts'
import type { BatchDecoder, DecodedRows, DecoderPool } from './decode.ts'
import { ensureTable, layoutOf, type TableLayout } from './ensure-table.ts'
import type { DataFile } from './iceberg/manifest.ts'
import { currentSnapshot } from './iceberg/metadata.ts'
import { sourceKey, tableOffsets } from './offsets.ts'
import type { TableShape } from './table-schema.ts'

export const SINK_STAGE = 'sink'

/**
 * Bytes asked of the log at once, of all partitions together and of each: they lie among each other, and what is read of the
 * log for one of them is still at hand for the next.
 */
const READ_BYTES = 4 * 1024 * 1024
const READ_BYTES_MIN = 512 * 1024
const READ_BYTES_MAX = 2 * 1024 * 1024

/** Rows after which a commit reads no further, whatever their bytes: decoded they take more room than in the log. */
export const COMMIT_ROWS_MAX = 1024 * 1024

/** What a table is filled with; made from a stream's descriptor (streams.ts). */
export interface FeedSpec {
  id: TableId
  topic: string
  shape: TableShape
  /** A decoder of the topic's batches into the table's columns, in shared memory or not. */
  decoder(isShared: boolean): BatchDecoder
  /** What all of this follows from; where it is equal, so is the rest. */
  origin: unknown
}

export interface FeedTools extends CommitTools {
  log: Log
  encoder: TableEncoder
  decoders: DecoderPool<FeedSpec>
}

export interface FeedCommit {
  rows: number
  files: number
  bytes: number
  partitions: number
  conflicts: number
  /** Manifests of the snapshot. */
  manifestCount: number
  /** Receive time in ms of the oldest row. */
  oldestMs: number
  positions: StagePosition[]
}

/** Rows of a commit, in the arrays of their decoder until it is given back. */
interface ReadRows {
  decoder: BatchDecoder
  rows: DecodedRows
  to: number[]
  bytes: number
}

export class TableFeed {
  readonly spec: FeedSpec
  /** As of the last look; its snapshots only right after a commit (`forgetHistory`). */
  table: LoadedTable | undefined
  /** When the oldest record that no snapshot holds was first seen, ms; undefined while there is none. */
  dirtySinceMs: number | undefined
  /** Bytes of log a record, as seen in the last commit. */
  bytesPerRecord = 100
  /** Partitions that the last commit touched. */
  partitionsTouched = 0
  /** Rows that were encoded and then not committed. */
  rowsDiscarded = 0

  readonly #tools: FeedTools
  #source = ''
  #layout: TableLayout | undefined
  /** Next offset of each partition that the table holds; empty while the topic does not exist. */
  #committed: number[] = []
  #known = false
  #ends: number[] = []
  /** Up to where no record is left to read behind `#committed`: the log may have offsets without one. */
  #empty: number[] = []
  /** Partitions that are this process's; undefined where all are. */
  #owned: ReadonlySet<number> | undefined

  constructor(spec: FeedSpec, tools: FeedTools) {
    this.spec = spec
    this.#tools = tools
  }

  get name(): string {
    return printTableId(this.spec.id)
  }

  /** Records in the log that no snapshot holds, as far as seen. */
  get lagRecords(): number {
    let lag = 0
    for (let p = 0; p < this.#committed.length; p++)
      if (this.owns(p)) lag += Math.max(0, (this.#ends[p] ?? 0) - this.#next(p))
    return lag
  }

  owns(partition: number): boolean {
    return this.#owned?.has(partition) ?? true
  }

  /** From the next `open` on only these partitions are read; true where others were until now. */
  setOwned(partitions: ReadonlySet<number>): boolean {
    const before = this.#owned
    this.#owned = partitions
    return before === undefined || before.size !== partitions.size || !partitions.isSubsetOf(before)
  }

  /** Where to read on. */
  #next(partition: number): number {
    return Math.max(this.#committed[partition] ?? 0, this.#empty[partition] ?? 0)
  }

  /** A partition has grown. */
  note(partition: number, end: number, nowMs: number): void {
    this.#ends[partition] = end
    if (this.dirtySinceMs === undefined && this.owns(partition) && end > this.#next(partition))
      this.dirtySinceMs = nowMs
  }

  /**
   * Makes or evolves the table and finds where to go on. Returns the positions to register, and a sentence
   * where it starts over. Errors: those of ensureTable, `offset_below_start`, `offset_above_end`.
   */
  async open(): Promise<{ positions: StagePosition[]; notice: string | undefined }> {
    const notices: string[] = []
    this.table = await ensureTable(this.#tools, this.spec.id, this.spec.shape, (one) => notices.push(one))
    this.#layout = layoutOf(this.table, this.spec.shape)
    const { log } = this.#tools
    const topic = await log.describeTopic(this.spec.topic)
    this.#committed = []
    this.#empty = []
    if (topic === undefined) return { positions: [], notice: notices[0] }
    this.#source = sourceKey(log.id, topic.id)
    const offsets = tableOffsets(this.table.metadata)
    const held = offsets.get(this.#source)
    const committed: number[] = []
    for (let partition = 0; partition < topic.config.partitions; partition++) {
      if (!this.owns(partition) && held !== undefined) {
        // Whoever owns it looks after it.
        committed.push(held[partition] ?? 0)
        continue
      }
      const range = await log.range(this.spec.topic, partition)
      const next = held?.[partition] ?? (held === undefined ? range.start : 0)
      if (next < range.start)
        throw new MillraceError(
          'offset_below_start',
          `${this.name} holds ${this.spec.topic}/${partition} up to offset ${next}, and the log begins at ${range.start}: records ${next} to ${range.start - 1} are gone from the log. The stream is stopped`,
          { topic: this.spec.topic, partition, next, start: range.start },
        )
      if (next > range.end)
        throw new MillraceError(
          'offset_above_end',
          `${this.name} holds ${this.spec.topic}/${partition} up to offset ${next}, and the log ends at ${range.end}: the log is older than the table. The stream is stopped`,
          { topic: this.spec.topic, partition, next, end: range.end },
        )
      committed.push(next)
      this.#ends[partition] = Math.max(this.#ends[partition] ?? 0, range.end)
    }
    this.#committed = committed
    this.#known = held !== undefined
    if (this.lagRecords > 0) this.dirtySinceMs ??= this.#tools.clock.now()
    const startsOver = held === undefined && currentSnapshot(this.table.metadata) !== undefined
    this.forgetHistory()
    if (startsOver)
      notices.push(
        `${this.name} holds rows, but none of this log (${this.#source}): reading ${this.spec.topic} from its beginning`,
      )
    return { positions: this.#positions(), notice: notices.length === 0 ? undefined : notices.join('; ') }
  }

  /** Whether the topic was there when it was opened. */
  get hasSource(): boolean {
    return this.#committed.length > 0
  }

  /**
   * Whether the table is still as this feed left it. Another engine may have rolled it back, dropped it or
   * changed its schema while no row came; then `open` finds where to go on.
   */
  async isCurrent(): Promise<boolean> {
    const now = await this.#tools.catalog.load(this.spec.id)
    if (now === undefined) return false
    if (now.metadataLocation === this.table?.metadataLocation) return true
    const { metadata } = this.table!
    const same =
      now.metadata['table-uuid'] === metadata['table-uuid'] &&
      now.metadata['current-schema-id'] === metadata['current-schema-id'] &&
      now.metadata['default-spec-id'] === metadata['default-spec-id']
    const held = tableOffsets(now.metadata).get(this.#source)
    this.table = now
    this.forgetHistory()
    if (held === undefined) return same && !this.#known
    return same && this.#committed.every((next, p) => !this.owns(p) || (held[p] ?? 0) === next)
  }

  /**
   * Lets go of the snapshots of the table's metadata, which nothing here needs until the next commit loads them anew: of
   * thousands of tables with hundreds of snapshots they would be most of the memory.
   */
  forgetHistory(): void {
    const { table } = this
    if (table === undefined) return
    const metadata = { ...table.metadata, snapshots: [], 'snapshot-log': [], 'metadata-log': [] }
    this.table = { ...table, metadata }
  }

  /** Looks at the log's ends, for a drain. */
  async refresh(): Promise<void> {
    for (let p = 0; p < this.#committed.length; p++)
      if (this.owns(p)) this.#ends[p] = (await this.#tools.log.range(this.spec.topic, p)).end
    if (this.lagRecords > 0) this.dirtySinceMs ??= this.#tools.clock.now()
  }

  /**
   * Commits what the log holds, up to about `bytesMax` bytes of batches. Undefined where nothing was
   * committed: no rows, or a stale stage (then the feed has been opened anew).
   */
  async commit(bytesMax: number): Promise<FeedCommit | undefined> {
    const table = this.table!
    const startedMs = this.#tools.clock.now()
    const read = await this.#read(bytesMax)
    const { rowCount } = read.rows
    if (rowCount === 0) {
      this.#giveBack(read)
      this.#empty = read.to
      this.dirtySinceMs = this.lagRecords > 0 ? startedMs : undefined
      return undefined
    }
    const files = await this.#writeFiles(table, read.rows)
    const written = files.reduce((sum, file) => sum + Number(file.record_count), 0)
    invariant(written === rowCount, `${this.name}: ${rowCount} rows were read, and ${written} written`)
    const staged: Staged = {
      tableUuid: table.metadata['table-uuid'],
      schemaId: table.metadata['current-schema-id'],
      specId: table.metadata['default-spec-id'],
      source: this.#source,
      from: this.#committed,
      to: read.to,
      owns: (partition) => this.owns(partition),
      known: this.#known,
      files,
    }
    const { oldestMs } = read.rows
    this.#giveBack(read)
    const outcome = await commitStaged(this.#tools, table, staged)
    if (!outcome.committed) {
      this.rowsDiscarded += rowCount
      await this.open()
      return undefined
    }
    this.table = outcome.table
    this.#committed = read.to
    this.#known = true
    this.dirtySinceMs = this.lagRecords > 0 ? startedMs : undefined
    this.partitionsTouched = staged.files.length
    this.bytesPerRecord = Math.max(1, read.bytes / rowCount)
    return {
      rows: rowCount,
      files: staged.files.length,
      bytes: staged.files.reduce((sum, file) => sum + Number(file.file_size_in_bytes), 0),
      partitions: staged.files.length,
      conflicts: outcome.conflicts,
      manifestCount: outcome.manifestCount,
      oldestMs,
      positions: this.#positions(),
    }
  }

  /** After an error a decoder is left to the garbage collector, as what it holds may still be read. */
  #giveBack({ decoder, rows }: ReadRows): void {
    this.#tools.decoders.giveBack(this.spec, decoder, rows)
  }

  async #read(bytesMax: number): Promise<ReadRows> {
    const { log, decoders } = this.#tools
    const decoder = decoders.take(this.spec, (isShared) => this.spec.decoder(isShared))
    const to = this.#committed.map((_, partition) => this.#next(partition))
    let bytes = 0
    const share = READ_BYTES / (this.#owned?.size ?? to.length)
    const readBytes = Math.min(READ_BYTES_MAX, Math.max(READ_BYTES_MIN, share))
    // A piece of each partition in turn: under overload none is held back behind another.
    for (let progress = true; progress && bytes < bytesMax && decoder.rowCount < COMMIT_ROWS_MAX; ) {
      progress = false
      for (let partition = 0; partition < to.length; partition++) {
        const from = to[partition]!
        if (!this.owns(partition) || from >= (this.#ends[partition] ?? 0)) continue
        const result = await log.read(this.spec.topic, partition, from, readBytes)
        if (result.nextOffset <= from) continue
        decoder.append(result.batches, partition, from)
        bytes += result.batches.length
        to[partition] = result.nextOffset
        progress = true
      }
    }
    return { decoder, rows: decoder.take(), to, bytes }
  }

  /** Encodes and stores the rows, one file a partition; after an error none of them is left. */
  async #writeFiles(table: LoadedTable, rows: DecodedRows): Promise<DataFile[]> {
    const files: DataFile[] = []
    try {
      for await (const file of this.#tools.encoder.encode(table, this.#layout!, rows, this.#tools.names)) {
        files.push(file.dataFile)
        await this.#tools.store.put([{ uri: file.dataFile.file_path, parts: file.parts }])
        this.#tools.encoder.giveBack(file.parts)
      }
      return files
    } catch (error) {
      await discard(
        this.#tools.store,
        files.map((file) => file.file_path),
      )
      throw error
    }
  }

  #positions(): StagePosition[] {
    return this.#committed
      .map((nextOffset, partition) => ({ stage: SINK_STAGE, topic: this.spec.topic, partition, nextOffset }))
      .filter(({ partition }) => this.owns(partition))
  }
}
