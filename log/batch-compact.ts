// Compaction of one batch: the records that stay, in a batch of the same offsets.
//
// As Kafka does it, a compacted batch keeps baseOffset and lastOffsetDelta, so that the offsets it covers do
// not change; record count, length and CRC do. Records are copied as they lie: their offset and timestamp
// deltas stay right because the base values stay.

import { crc32c } from '../std/hash.ts'
import { ATTRIBUTES, BATCH_LENGTH, CRC, RECORD_COUNT, RECORDS, type RecordReader } from './record-batch.ts'

/** Bytes of a batch that batchLength does not count. */
const NOT_COUNTED = BATCH_LENGTH + 4

/**
 * Copies the batch `bytes` with only those records for which `keeps` returns true; undefined where none is
 * left, `bytes` itself where all are. `reader` is positioned on each record when `keeps` is called.
 */
export function compactBatch(
  bytes: Uint8Array,
  reader: RecordReader,
  keeps: (reader: RecordReader) => boolean,
): Uint8Array | undefined {
  const out = new Uint8Array(bytes.length)
  let end = RECORDS
  let total = 0
  let kept = 0
  reader.reset(bytes)
  while (reader.next()) {
    total++
    if (!keeps(reader)) continue
    kept++
    out.set(bytes.subarray(reader.recordStart, reader.recordEnd), end)
    end += reader.recordEnd - reader.recordStart
  }
  if (kept === total) return bytes
  if (kept === 0) return undefined
  out.set(bytes.subarray(0, RECORDS))
  const header = new DataView(out.buffer)
  header.setInt32(BATCH_LENGTH, end - NOT_COUNTED)
  header.setInt32(RECORD_COUNT, kept)
  header.setUint32(CRC, crc32c(out.subarray(ATTRIBUTES, end)))
  return out.subarray(0, end)
}

/** The key of the reader's record as a map key: one UTF-16 unit a byte. Undefined for a null key. */
export function keyText(reader: RecordReader): string | undefined {
  if (reader.keyStart < 0) return undefined
  let text = ''
  for (let i = reader.keyStart; i < reader.keyEnd; i++) text += String.fromCharCode(reader.bytes[i]!)
  return text
}
