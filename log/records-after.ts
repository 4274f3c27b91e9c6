// How many records of a partition a stage has not dealt with: what lies after its position. Offsets alone do not tell
// where a log leaves gaps between them, so a small difference is looked at.
import type { Log } from './log.ts'
import { readBatchHeader } from './record-batch.ts'

/** Above it the difference of the offsets is answer enough. */
const LOOK_AT_MAX = 10_000
const READ_BYTES = 1024 * 1024

/** `position` undefined: the stage has not begun. */
export async function recordsAfter(
  log: Log,
  topic: string,
  partition: number,
  position: number | undefined,
): Promise<number> {
  const { start, end } = await log.range(topic, partition)
  const from = Math.max(start, position ?? start)
  if (end - from > LOOK_AT_MAX) return end - from
  let records = 0
  for (let offset = from; offset < end; ) {
    const { batches, nextOffset } = await log.read(topic, partition, offset, READ_BYTES)
    for (let at = 0; at < batches.length; ) {
      const header = readBatchHeader(batches, at)!
      // The first batch may begin before the position.
      records += Math.min(header.recordCount, header.baseOffset + header.lastOffsetDelta + 1 - from)
      at += header.byteLength
    }
    if (nextOffset <= offset) break
    offset = nextOffset
  }
  return records
}
