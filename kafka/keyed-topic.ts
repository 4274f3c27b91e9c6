// A compacted topic of the door's own, one partition, read whole at the start: JSON arrays as keys, JSON as values.
// Only the door writes it, so what it holds in memory is what the topic says.
import { type BatchAppend, type Log, TABLE_TOPIC } from '../log/log.ts'
import { RecordBatchBuilder, RecordReader } from '../log/record-batch.ts'

const READ_BYTES = 1 << 20

export type Key = readonly (string | number)[]

/** Makes the topic where there is none and gives every record to `apply`; value undefined: removed. */
export async function readKeyedTopic(
  log: Log,
  name: string,
  apply: (key: Key, value: unknown) => void,
): Promise<void> {
  await log.createTopic(name, TABLE_TOPIC)
  const decoder = new TextDecoder()
  const reader = new RecordReader()
  const { start, end } = await log.range(name, 0)
  for (let offset = start; offset < end; ) {
    const { batches, nextOffset } = await log.read(name, 0, offset, READ_BYTES)
    if (nextOffset === offset) return
    const text = (from: number, to: number): string => decoder.decode(batches.slice(from, to))
    reader.reset(batches)
    while (reader.next())
      apply(
        JSON.parse(text(reader.keyStart, reader.keyEnd)) as Key,
        reader.valueStart < 0 ? undefined : JSON.parse(text(reader.valueStart, reader.valueEnd)),
      )
    offset = nextOffset
  }
}

/** The records as one batch for `log.append`; value undefined removes the key. */
export function keyedBatch(name: string, records: readonly { key: Key; value: unknown }[]): BatchAppend {
  const encoder = new TextEncoder()
  const builder = new RecordBatchBuilder()
  const now = Date.now()
  for (const { key, value } of records)
    builder.append(
      now,
      encoder.encode(JSON.stringify(key)),
      value === undefined ? undefined : encoder.encode(JSON.stringify(value)),
    )
  return { topic: name, partition: 0, batch: builder.finish(), recordCount: records.length }
}
