// The streams and partitions that a stage owns: what belongs to each, and how a partition comes back to where
// it was when the process before ended.
import type { Log } from '../log/log.ts'
import { normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { MillraceError } from '../std/errors.ts'
import { Waiting } from './commit.ts'
import type { OutputBatches } from './output.ts'
import { type PartitionNormalizer, Tally } from './partition.ts'
import { RejectedBatches } from './rejected-batches.ts'
import { type Snapshots, STATE_STAGE } from './snapshots.ts'
import type { StreamTopics } from './step.ts'
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
