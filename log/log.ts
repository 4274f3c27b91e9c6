// The log: the ordered, durable, partitioned store of batches that all stages meet in.
//
// This file is the contract; log-embedded.ts (the journal) and log-kafka.ts implement it, and one
// conformance suite (log-conformance.ts) runs against both and against the in-memory fake. Everything that
// a promise here returns is durable: an offset that a reader can see survives power loss.
//
// Offsets are numbers below 2^53. A batch is a Kafka RecordBatch v2 (record-batch.ts).

export interface TopicConfig {
  /** 1 to 1,024. Fixed at creation. */
  partitions: number
  /** `delete`: by age and bytes, never beyond a registered stage's position. `compact`: the latest record of each key. */
  cleanup: 'delete' | 'compact'
  /** Milliseconds since the receive time of a batch's newest record; Infinity keeps for ever. */
  retentionAgeMs: number
  /** Bytes of a partition that are kept; Infinity keeps all. */
  retentionBytes: number
  /** Bytes between a partition's end and its slowest stage's position above which appends get `backlog_full`. */
  backlogBytesMax: number
}

/** Of a topic that is a table: the latest record of each key, for ever, in the order in which they were written. */
export const TABLE_TOPIC: Readonly<TopicConfig> = {
  partitions: 1,
  cleanup: 'compact',
  retentionAgeMs: Number.POSITIVE_INFINITY,
  retentionBytes: Number.POSITIVE_INFINITY,
  backlogBytesMax: Number.POSITIVE_INFINITY,
}

export interface Topic {
  readonly name: string
  /** UUID given at creation; a topic that is made again has another. */
  readonly id: string
  readonly config: TopicConfig
}

/** One or more whole sealed batches for one partition. The log patches baseOffset and partitionLeaderEpoch in place. */
export interface BatchAppend {
  topic: string
  partition: number
  /** May view shared memory; it must not change until the append has settled. */
  batch: Uint8Array
  /** Records in all batches of `batch`. */
  recordCount: number
  /**
   * The CRC field is empty and for the log to fill in, in place, over what it is about to store: one pass over the
   * bytes instead of one by the sender and one that checks it. For senders that build batches in memory of their own.
   */
  isCrcPending?: boolean
  /**
   * append-if-next-offset-is: the whole request is refused (`offset_conflict`) unless the partition's next offset is
   * this; with Kafka, unless no record is at it or after it. One partition of a request may say so.
   */
  expectedOffset?: number
}

/** Appends the batch that lies at `source` unchanged, without writing its bytes again where the log can. */
export interface ReferenceAppend {
  topic: string
  partition: number
  reference: { topic: string; partition: number; baseOffset: number }
  recordCount: number
  expectedOffset?: number
}

/** What a stage has dealt with of an input partition. Registered positions bound retention. */
export interface StagePosition {
  stage: string
  topic: string
  partition: number
  nextOffset: number
}

/** One atomic unit: after a crash all of it is there, or none. */
export interface AppendRequest {
  entries: readonly (BatchAppend | ReferenceAppend)[]
  positions?: readonly StagePosition[]
  /** The entries need not be one unit: a crash may leave some of them. Kafka takes them so without a transaction. */
  independent?: boolean
}

export interface AppendResult {
  /** The base offset of each entry's first batch, in the order of the request. */
  baseOffsets: number[]
}

export interface ReadResult {
  /** Whole batches back to back, or empty at the end of the partition. The first may begin before the offset asked for. Valid until the next read of this client. */
  batches: Uint8Array
  /** The offset after the last record returned (the asked one when nothing was). */
  nextOffset: number
}

export interface PartitionRange {
  /** First offset still stored. */
  start: number
  /** Offset that the next durable record will get; with Kafka that one, or one after it. */
  end: number
}

export interface Change {
  topic: string
  partition: number
  end: number
}

export interface Changes {
  /** Give this to the next call. */
  sequence: number
  /** Each partition that grew after the sequence given, once. */
  partitions: Change[]
}

/** Partition numbers by topic. */
export type Assignment = ReadonlyMap<string, ReadonlySet<number>>

/** This process among those that share a stage. */
export interface Membership {
  /** What it should deal with. */
  readonly target: Assignment
  /** Counts how often it was dropped: what it dealt with under another count is others' by now. */
  readonly generation: number
  /**
   * From now on it deals with these partitions and no others: it has let go of the rest. They are those of `target` when
   * `generation` was this; where it has been dropped since, nothing happens. Positions are taken from then on.
   */
  own(partitions: Assignment, generation: number): void
  /** The stage's topics are these from now on. */
  subscribe(topics: readonly string[]): void
  /** Gives everything back at once. */
  leave(): Promise<void>
}

export interface Log {
  /** UUID of this log, given when it was made; Kafka's cluster id with Kafka. */
  readonly id: string
  /** Makes the topic, or returns it where it exists with the same partitions and cleanup (other fields are updated); else `topic_conflict`. */
  createTopic(name: string, config: TopicConfig): Promise<Topic>
  /** Undefined where there is none. */
  describeTopic(name: string): Promise<Topic | undefined>
  listTopics(): Promise<Topic[]>
  /** Settles when the whole request is durable. Errors: offset_conflict, topic_unknown, batch_invalid, backlog_full, log_full, log_stopped. */
  append(request: AppendRequest): Promise<AppendResult>
  /** Durable batches from `offset` on, at most about `bytesMax` bytes but at least one batch. Errors: offset_below_start, offset_above_end, topic_unknown. */
  read(topic: string, partition: number, offset: number, bytesMax: number): Promise<ReadResult>
  range(topic: string, partition: number): Promise<PartitionRange>
  /**
   * Resolves when all that was appended to the partition before can be read, by whomever it was appended. Only logs
   * where an atomic append becomes readable after it has settled (Kafka's transactions) have it.
   */
  settled?(topic: string, partition: number): Promise<void>
  /**
   * Partitions that grew since `sequence` (0: all that hold records); waits up to `timeoutMs` while there are none.
   * With Kafka, of those partitions whose range this client has asked for.
   */
  changes(sequence: number, timeoutMs: number): Promise<Changes>
  /** A stage's next offset, undefined where it never registered one. */
  position(stage: string, topic: string, partition: number): Promise<number | undefined>
  /**
   * Joins the processes that share a stage; its positions are this member's from then on (`partition_lost` where it has
   * been dropped). `onChange`: `target` or `generation` is another. Only logs that several processes can share have it.
   */
  join?(
    stage: string,
    topics: readonly string[],
    onChange: () => void,
    onFailure: (error: unknown) => void,
  ): Promise<Membership>
  close(): Promise<void>
}
