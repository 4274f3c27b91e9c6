// Stored frames are zstd frames: libzstd reads them, whatever their length.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import zlib from 'node:zlib'
import { PageCompressor, storePage } from './stored-frame.ts'

const noise = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  let state = 1
  for (let i = 0; i < length; i++) bytes[i] = (state = Math.imul(state, 1_103_515_245) + 12_345) >>> 16
  return bytes
}

test('a stored page is read by libzstd', () => {
  for (const length of [0, 1, 1000, 128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 1_000_000]) {
    const bytes = noise(length)
    const frame = storePage(bytes)
    assert.deepEqual(new Uint8Array(zlib.zstdDecompressSync(frame)), bytes, `${length} bytes`)
    assert.ok(frame.length <= length + 9 + 3 * Math.max(1, Math.ceil(length / (128 * 1024))))
  }
})

test('pages are stored only after one that did not shrink, and tried again after seven, then fifteen', () => {
  let compressed = 0
  const compressor = new PageCompressor((bytes) => {
    compressed++
    return zlib.zstdCompressSync(bytes)
  })
  const [dense, sparse] = [noise(5000), new Uint8Array(5000)]
  for (let i = 0; i < 4; i++) compressor.page(sparse)
  assert.equal(compressed, 4)
  for (let i = 0; i < 8 + 16; i++) compressor.page(dense)
  assert.equal(compressed, 6)
  // The next try finds that pages shrink again.
  for (let i = 0; i < 10; i++) compressor.page(sparse)
  assert.equal(compressed, 16)
  for (let i = 0; i < 8; i++) compressor.page(dense)
  assert.equal(compressed, 17)
  compressor.page(dense)
  assert.equal(compressed, 18)
})
