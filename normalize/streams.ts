// The streams and partitions that a stage owns: what belongs to each, and how a partition comes back to where
// it was when the process before ended.
import type { Log, Topic } from '../log/log.ts'
import { normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import type { CounterBlock } from '../std/counters.ts'
import { MillraceError } from '../std/errors.ts'
import { Waiting } from './commit.ts'
import type { NormalizeCounter } from './counters.ts'
import type { OutputBatches } from './output.ts'
import { PartitionNormalizer, type PartitionOptions, Tally } from './partition.ts'
import { RejectedBatches } from './rejected-batches.ts'
import { Snapshots, STATE_STAGE } from './snapshots.ts'
import { PartitionState, type StateLimits } from './state.ts'
import { NORMALIZE_STAGE, type StreamTopics } from './step.ts'
import type { StreamTransform } from './transform.ts'

export interface Partition {
  stream: Stream
  number: number
  normalizer: PartitionNormalizer
  snapshots: Snapshots
  nextOffset: number
  /** Offset after the last durable raw record, as far as known. */
  end: number
  queued: boolean
}

export interface Stream extends StreamTopics {
  name: string
  descriptor: StreamDescriptor
  transform: StreamTransform
  partitions: Map<number, Partition>
  /** Partitions with records to read, in turn. */
  pending: Partition[]
  queued: boolean
  stopped: boolean
  waiting: Waiting<Stream>
}

export const streamName = ({ tenant, stream }: StreamDescriptor): string => `${tenant}.${stream}`

export function newStream(descriptor: StreamDescriptor, transform: StreamTransform): Stream {
  const { tenant, stream } = descriptor
  return {
    name: streamName(descriptor),
    descriptor,
    transform,
    raw: rawTopic(tenant, stream),
    normalized: normalizedTopic(tenant, stream),
    rejected: rejectedTopic(tenant, stream),
    partitions: new Map(),
    pending: [],
    queued: false,
    stopped: false,
    waiting: new Waiting(),
  }
}

/** Adds a partition to its stream, with the state of one that has read nothing. */
export async function openPartition(
  log: Log,
  stream: Stream,
  topic: Topic,
  number: number,
  limits: StateLimits,
  options: Omit<PartitionOptions, 'partition'>,
): Promise<Partition> {
  // The position first: with Kafka it is not told while a commit of a former owner may yet be done.
  const committed = await log.position(NORMALIZE_STAGE, stream.raw, number)
  const range = await log.range(stream.raw, number)
  const partition: Partition = {
    stream,
    number,
    normalizer: new PartitionNormalizer(stream.transform, new PartitionState(limits), {
      partition: number,
      ...options,
    }),
    snapshots: new Snapshots(topic, number),
    nextOffset: committed ?? range.start,
    end: range.end,
    queued: false,
  }
  stream.partitions.set(number, partition)
  return partition
}

/**
 * Gives a new partition the state that its snapshot (loaded before) and the records since make. Those records'
 * outputs are committed: they change the state again, and nothing else. Errors: `offset_below_start`,
 * `offset_above_end`.
 */
export async function restorePartition(
  log: Log,
  partition: Partition,
  output: OutputBatches,
  readBytesMax: number,
  now: number,
): Promise<void> {
  const { stream, number, normalizer, snapshots, nextOffset } = partition
  await checkRange(log, partition)
  const from = await log.position(STATE_STAGE, stream.raw, number)
  snapshots.base ??= from
  let offset = snapshots.restore(normalizer.state) ?? from ?? nextOffset
  const rejected = new RejectedBatches(stream.raw, 0)
  while (offset < nextOffset) {
    const read = await log.read(stream.raw, number, offset, readBytesMax)
    if (read.nextOffset === offset) break
    output.clear()
    normalizer.process(read.batches, offset, nextOffset, output, rejected, new Tally())
    rejected.take()
    snapshots.noteInput(read.batches.length, now)
    offset = read.nextOffset
  }
}

async function checkRange(log: Log, { stream, number, nextOffset }: Partition): Promise<void> {
  const { raw } = stream
  const { start, end } = await log.range(raw, number)
  if (nextOffset < start) {
    const message = `${raw}/${number}: normalize is at offset ${nextOffset}, the log begins at ${start}; the records between are gone`
    throw new MillraceError('offset_below_start', message, { topic: raw, partition: number })
  }
  if (nextOffset > end) {
    const message = `${raw}/${number}: normalize is at offset ${nextOffset}, the log ends at ${end}`
    throw new MillraceError('offset_above_end', message, { topic: raw, partition: number })
  }
}

export function countGauges(streams: Iterable<Stream>, counters: CounterBlock<NormalizeCounter>): void {
  let lag = 0
  let devices = 0
  let stopped = 0
  let waiting = 0
  for (const stream of streams) {
    if (stream.stopped) stopped++
    if (stream.waiting.parts.length > 0) waiting++
    for (const { end, nextOffset, normalizer } of stream.partitions.values()) {
      lag += Math.max(0, end - nextOffset)
      devices += normalizer.state.devices.count
    }
  }
  counters.set('lag_records', lag)
  counters.set('devices', devices)
  counters.set('streams_stopped', stopped)
  counters.set('streams_waiting', waiting)
}
