// Checksums and hashes with fixed definitions: CRC-32C (RFC 3720) and Kafka's murmur2.
import { crc32c as nativeCrc32c } from '@node-rs/crc32'

/** CRC-32C of the bytes, continuing from `initial`; unsigned. Takes views of shared memory without copying. */
export function crc32c(bytes: Uint8Array, initial = 0): number {
  return nativeCrc32c(bytes as Buffer, initial) >>> 0
}

/** Bits of polynomials are reflected: that of 1 is the highest one. */
const CRC32C_POLYNOMIAL = 0x82f63b78
/** x^(8 · 2^k) modulo that polynomial. */
const CRC32C_POWERS = [1 << 23]
for (let k = 0; k < 30; k++) CRC32C_POWERS.push(multiply(CRC32C_POWERS[k]!, CRC32C_POWERS[k]!))

function multiply(a: number, b: number): number {
  let product = 0
  for (let bit = 1 << 31, power = b; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= power
    power = (power & 1) === 0 ? power >>> 1 : (power >>> 1) ^ CRC32C_POLYNOMIAL
  }
  return product
}

/**
 * The CRC-32C of a head and `byteLength` bytes after it, where those had the CRC `whole` with another head: without a look
 * at them. `before` and `after` are the CRCs of the heads alone.
 */
export function crc32cWithHead(whole: number, before: number, after: number, byteLength: number): number {
  let difference = before ^ after
  for (let k = 0, rest = byteLength; rest > 0; k++, rest >>>= 1)
    if ((rest & 1) === 1) difference = multiply(CRC32C_POWERS[k]!, difference)
  return (whole ^ difference) >>> 0
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
