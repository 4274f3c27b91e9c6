// Checksums and hashes with fixed definitions: CRC-32C (RFC 3720) and Kafka's murmur2.
import { crc32c as nativeCrc32c } from '@node-rs/crc32'

/** CRC-32C of the bytes, continuing from `initial`; unsigned. Takes views of shared memory without copying. */
export function crc32c(bytes: Uint8Array, initial = 0): number {
  return nativeCrc32c(bytes as Buffer, initial) >>> 0
}

const M = 0x5bd1e995

/** Kafka's murmur2 (org.apache.kafka.common.utils.Utils): a signed 32-bit hash of bytes[start, end). */
export function murmur2(bytes: Uint8Array, start = 0, end = bytes.length): number {
  const length = end - start
  let h = 0x9747b28c ^ length
  const whole = start + (length & ~3)
  let at = start
  for (; at < whole; at += 4) {
    let k = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    k = Math.imul(k, M)
    k ^= k >>> 24
    k = Math.imul(k, M)
    h = Math.imul(h, M) ^ k
  }
  switch (length & 3) {
    // biome-ignore lint/suspicious/noFallthroughSwitchClause: the tail bytes accumulate, as in the definition
    case 3:
      h ^= bytes[at + 2]! << 16
    // biome-ignore lint/suspicious/noFallthroughSwitchClause: as above
    case 2:
      h ^= bytes[at + 1]! << 8
    case 1:
      h ^= bytes[at]!
      h = Math.imul(h, M)
  }
  h ^= h >>> 13
  h = Math.imul(h, M)
  h ^= h >>> 15
  return h
}

/** The partition Kafka's default partitioner gives a key. */
export function partitionOfKey(
  bytes: Uint8Array,
  start: number,
  end: number,
  partitionCount: number,
): number {
  return (murmur2(bytes, start, end) & 0x7fffffff) % partitionCount
}
