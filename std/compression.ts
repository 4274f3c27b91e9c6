// LZ4 and Snappy as Kafka's clients use them, from native libraries: what is damaged or hostile fails there without harm, and
// its size is known before it is unpacked. (gzip and zstd are Node's own, and take a bound.)
//
//   LZ4      the frame format (lz4_Frame_format.md): magic │ FLG │ BD │ [content size] │ HC │ blocks │ end mark
//            block: size uint32, little-endian, the highest bit set where it is not compressed │ bytes │ [checksum]
//   Snappy   one raw block, which begins with its length unpacked as a varint; or snappy-java's stream:
//            0x82 "SNAPPY" 0x00 │ version int32 │ compatible int32 │ { size int32 │ raw block }…
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { compressFrameSync, decompressFrameSync } from 'lz4-napi'
import { uncompressSync } from 'snappy'

/** What claims to be more than the caller takes. */
export class TooLarge extends Error {}

const LZ4_MAGIC = 0x184d2204
const LZ4_HAS_CONTENT_SIZE = 0b1000
const LZ4_HAS_BLOCK_CHECKSUM = 0b1_0000
const LZ4_HAS_DICTIONARY = 0b1
const LZ4_PLAIN_BLOCK = 0x80000000
/** Of a block, by the three bits of BD; the smaller numbers are reserved. */
const LZ4_BLOCK_BYTES_MAX = [0, 0, 0, 0, 64 << 10, 256 << 10, 1 << 20, 4 << 20] as const
/** A byte of an LZ4 block makes no more than that. */
const LZ4_RATIO_MAX = 255

const SNAPPY_JAVA = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const SNAPPY_JAVA_HEADER_BYTES = 16
/** Its smallest setting for the size of a block: a stream of smaller ones costs its reader more than its writer. */
const SNAPPY_JAVA_BLOCK_BYTES_MIN = 1 << 10

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** How the codecs of a Kafka batch are undone, by their number in its attributes. None makes more than `bytesMax`. */
export const KAFKA_CODECS: Readonly<Record<number, (packed: Uint8Array, bytesMax: number) => Uint8Array>> = {
  1: (packed, maxOutputLength) => bounded(() => gunzipSync(packed, { maxOutputLength })),
  2: decompressSnappy,
  3: decompressLz4,
  4: (packed, maxOutputLength) => bounded(() => zstdDecompressSync(packed, { maxOutputLength })),
}

/** Node's own say it by a code. */
function bounded(unpack: () => Uint8Array): Uint8Array {
  try {
    return unpack()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw code === 'ERR_BUFFER_TOO_LARGE' ? new TooLarge(message) : error
  }
}

export function compressLz4(bytes: Uint8Array): Uint8Array {
  return compressFrameSync(asBuffer(bytes))
}

/** Throws `TooLarge`, or another error where the bytes are no such frame. */
export function decompressLz4(packed: Uint8Array, bytesMax: number): Uint8Array {
  const bytes = asBuffer(packed)
  if (lz4BytesMax(bytes) > bytesMax) throw new TooLarge(`more than ${bytesMax} bytes`)
  return decompressFrameSync(bytes)
}

/** No more than so many bytes come out, less by a block at most. */
function lz4BytesMax(bytes: Buffer): number {
  if (bytes.readUInt32LE(0) !== LZ4_MAGIC) throw new RangeError('no LZ4 frame')
  const flags = bytes.readUInt8(4)
  const blockMax = LZ4_BLOCK_BYTES_MAX[(bytes.readUInt8(5) >> 4) & 7]!
  let at = 7
  if ((flags & LZ4_HAS_CONTENT_SIZE) !== 0) at += 8
  if ((flags & LZ4_HAS_DICTIONARY) !== 0) at += 4
  const checksum = (flags & LZ4_HAS_BLOCK_CHECKSUM) === 0 ? 0 : 4
  let most = 0
  for (;;) {
    const word = bytes.readUInt32LE(at)
    at += 4
    if (word === 0) return most
    const size = word % LZ4_PLAIN_BLOCK
    most += word >= LZ4_PLAIN_BLOCK ? size : Math.min(blockMax, size * LZ4_RATIO_MAX)
    at += size + checksum
  }
}

/** Throws `TooLarge`, or another error where the bytes are neither of the two. */
export function decompressSnappy(packed: Uint8Array, bytesMax: number): Uint8Array {
  const bytes = asBuffer(packed)
  if (!bytes.subarray(0, SNAPPY_JAVA.length).equals(SNAPPY_JAVA)) return decompressBlock(bytes, bytesMax)
  const parts: Uint8Array[] = []
  let total = 0
  const partsMax = 1 + bytesMax / SNAPPY_JAVA_BLOCK_BYTES_MIN
  for (let at = SNAPPY_JAVA_HEADER_BYTES; at < bytes.length; ) {
    if (parts.length > partsMax) throw new RangeError(`more than ${partsMax} blocks`)
    const size = bytes.readInt32BE(at)
    at += 4
    if (size < 0 || size > bytes.length - at) throw new RangeError(`a block of ${size} bytes at ${at}`)
    const part = decompressBlock(bytes.subarray(at, at + size), bytesMax - total)
    parts.push(part)
    total += part.length
    at += size
  }
  return Buffer.concat(parts, total)
}

function decompressBlock(block: Buffer, bytesMax: number): Uint8Array {
  let length = 0
  for (let i = 0, scale = 1; ; i++, scale *= 128) {
    const byte = block.readUInt8(i)
    length += (byte & 0x7f) * scale
    if (byte < 0x80) break
  }
  if (length > bytesMax) throw new TooLarge(`${length} bytes, allowed are ${bytesMax}`)
  return uncompressSync(block, { asBuffer: true }) as Buffer
}
