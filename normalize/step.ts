// What one step appends, stream by stream, so that a stream that the log refuses can wait without the others.
import type { AppendRequest, BatchAppend, ReferenceAppend, StagePosition } from '../log/log.ts'
import { NORMALIZE_STATE_TOPIC } from '../schemas/names.ts'
import type { OutputSegment } from './output.ts'
import type { RejectedBatch } from './rejected-batches.ts'
import type { SnapshotPiece } from './snapshots.ts'

/** The stage's name in the log's positions. */
export const NORMALIZE_STAGE = 'normalize'

export interface StreamTopics {
  raw: string
  normalized: string
  rejected: string
}

interface PartitionOutput {
  partition: number
  segments: OutputSegment[]
}

export class StepPart<Stream extends StreamTopics> {
  readonly stream: Stream
  readonly #outputs: PartitionOutput[] = []
  readonly #snapshots: OutputSegment[] = []
  readonly #others: BatchAppend[] = []
  readonly #positions: StagePosition[] = []
  #request: AppendRequest | undefined

  constructor(stream: Stream) {
    this.stream = stream
  }

  /** What came of a raw partition's records up to `nextOffset`. */
  add(
    partition: number,
    segments: OutputSegment[],
    rejected: readonly RejectedBatch[],
    nextOffset: number,
  ): void {
    this.#outputs.push({ partition, segments })
    for (const { batch, recordCount } of rejected)
      this.#others.push({ topic: this.stream.rejected, partition, batch, recordCount })
    this.addPosition({ stage: NORMALIZE_STAGE, topic: this.stream.raw, partition, nextOffset })
  }

  addPosition(position: StagePosition): void {
    this.#positions.push(position)
  }

  /** `nextOffset` of the partition goes with it: by that the log tells whether it is this process's still. */
  addSnapshot({ segments, position }: SnapshotPiece, partition: number, nextOffset: number): void {
    this.addPosition({ stage: NORMALIZE_STAGE, topic: this.stream.raw, partition, nextOffset })
    this.#snapshots.push(...segments)
    if (position !== undefined) this.addPosition(position)
  }

  /** The request; views `bytes`, the buffer that the segments lie in, which from now on does not move. */
  request(bytes: Uint8Array): AppendRequest {
    if (this.#request === undefined) {
      const entries: (BatchAppend | ReferenceAppend)[] = [...this.#others]
      const { raw, normalized } = this.stream
      const add = (topic: string, partition: number, segment: OutputSegment): void => {
        const { recordCount } = segment
        if (segment.kind === 'written')
          entries.push({ topic, partition, batch: bytes.subarray(segment.start, segment.end), recordCount })
        else {
          const reference = { topic: raw, partition, baseOffset: segment.baseOffset }
          entries.push({ topic, partition, reference, recordCount })
        }
      }
      for (const segment of this.#snapshots) add(NORMALIZE_STATE_TOPIC, 0, segment)
      for (const { partition, segments } of this.#outputs)
        for (const segment of segments) add(normalized, partition, segment)
      this.#request = { entries, positions: this.#positions }
    }
    return this.#request
  }

  /** Copies what the request views, so that it may wait while the buffer is used again. */
  detach(bytes: Uint8Array): void {
    const { entries, positions } = this.request(bytes)
    this.#request = {
      entries: entries.map((entry) => ('batch' in entry ? { ...entry, batch: entry.batch.slice() } : entry)),
      ...(positions === undefined ? {} : { positions }),
    }
  }
}

export function mergeRequests(requests: readonly AppendRequest[]): AppendRequest {
  if (requests.length === 1) return requests[0]!
  return {
    entries: requests.flatMap((request) => request.entries),
    positions: requests.flatMap((request) => request.positions ?? []),
  }
}
