// The rejected records of one partition in one step, as batches for its rejected topic.
import { RecordBatchBuilder, type RecordReader } from '../log/record-batch.ts'
import { encodeRejected } from '../schemas/rejected.ts'
import { BATCH_BYTES_MAX } from './output.ts'
import type { Rejection } from './transform.ts'

export interface RejectedBatch {
  batch: Uint8Array
  recordCount: number
}

/** The schema id behind the first byte of a Confluent frame. */
function claimedSchemaId(payload: Uint8Array): number | undefined {
  if (payload.length < 5 || payload[0] !== 0) return undefined
  return new DataView(payload.buffer, payload.byteOffset, payload.byteLength).getInt32(1)
}

export class RejectedBatches {
  readonly #rawTopic: string
  readonly #schemaId: number
  readonly #batches: RejectedBatch[] = []
  #builder: RecordBatchBuilder | undefined
  #closedBytes = 0

  /** `schemaId`: of REJECTED_SUBJECT. */
  constructor(rawTopic: string, schemaId: number) {
    this.#rawTopic = rawTopic
    this.#schemaId = schemaId
  }

  /** Takes the raw record that the reader is at. Keeps its key, so that it lies beside its device's others, and its receive time. */
  add(record: RecordReader, partition: number, rejection: Rejection): void {
    const key = record.keyStart < 0 ? undefined : record.bytes.slice(record.keyStart, record.keyEnd)
    const payload =
      record.valueStart < 0 ? new Uint8Array(0) : record.bytes.slice(record.valueStart, record.valueEnd)
    const value = encodeRejected(
      {
        ...rejection,
        payload,
        schemaId: claimedSchemaId(payload),
        device: key === undefined ? '' : new TextDecoder().decode(key),
        source: { topic: this.#rawTopic, partition, offset: record.offset },
        receiveTimeMs: record.timestamp,
      },
      this.#schemaId,
    )
    this.#builder ??= new RecordBatchBuilder()
    this.#builder.append(record.timestamp, key, value)
    if (this.#builder.byteLength >= BATCH_BYTES_MAX) this.#close()
  }

  get byteLength(): number {
    return this.#closedBytes + (this.#builder?.byteLength ?? 0)
  }

  take(): RejectedBatch[] {
    this.#close()
    return this.#batches.splice(0)
  }

  #close(): void {
    if (this.#builder === undefined) return
    const { recordCount, byteLength } = this.#builder
    this.#closedBytes += byteLength
    this.#batches.push({ batch: this.#builder.finish(), recordCount })
    this.#builder = undefined
  }
}
