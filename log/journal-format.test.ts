// The bytes of groups and segment headers, against golden files: log/golden/NAME.json says what a group holds,
// NAME.hex its bytes. A change of the format shows here first, and must be able to read these still.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  decodeSegmentHeader,
  ENTRY_BATCH,
  ENTRY_MOVED,
  ENTRY_MOVED_REFERENCE,
  ENTRY_REFERENCE,
  encodeSegmentHeader,
  GroupBuilder,
  GroupReader,
  segmentName,
  segmentOfName,
} from './journal-format.ts'
import { type TestRecord, textBatch } from './log-conformance.ts'

const GOLDEN = path.join(import.meta.dirname, 'golden')

interface GoldenEntry {
  kind: 'batch' | 'moved' | 'reference' | 'movedReference' | 'topic' | 'position'
  partition: number
  baseOffset?: number
  records?: TestRecord[]
  segment?: number
  position?: number
  byteLength?: number
  lastOffsetDelta?: number
  maxTimestamp?: number
  nextOffset?: number
  text?: string
}

interface GoldenGroup {
  salt: string
  sequence: number
  /** Where the group lies in its segment. */
  groupPosition: number
  entries: GoldenEntry[]
}

function encode(group: GoldenGroup): Buffer {
  const builder = new GroupBuilder()
  for (const one of group.entries) {
    if (one.kind === 'batch' || one.kind === 'moved')
      builder.addBatch(
        one.kind === 'batch' ? ENTRY_BATCH : ENTRY_MOVED,
        one.partition,
        one.baseOffset!,
        textBatch(one.records!),
      )
    else if (one.kind === 'topic') builder.addTopic(one.partition, one.text!)
    else if (one.kind === 'position') builder.addPosition(one.partition, one.nextOffset!, one.text!)
    else
      builder.addReference(
        one.kind === 'reference' ? ENTRY_REFERENCE : ENTRY_MOVED_REFERENCE,
        one.partition,
        one.baseOffset!,
        one.segment!,
        one.position!,
        one.byteLength!,
        one.lastOffsetDelta!,
        one.maxTimestamp!,
      )
  }
  const { byteLength } = builder
  const bytes = Buffer.concat(builder.finish(group.sequence, Buffer.from(group.salt, 'hex')))
  assert.equal(bytes.length, byteLength)
  return bytes
}

const KINDS = ['', 'batch', 'moved', 'reference', 'movedReference', 'topic', 'position'] as const

/** What the reader says of each entry, as the golden file has it, without records. */
function decode(bytes: Uint8Array, group: GoldenGroup): GoldenEntry[] {
  const reader = new GroupReader()
  assert.equal(reader.openHead(bytes, Buffer.from(group.salt, 'hex'), group.groupPosition), 0)
  assert.equal(reader.isWhole(bytes), true)
  assert.equal(reader.sequence, group.sequence)
  assert.equal(reader.byteLength, bytes.length)
  const found: GoldenEntry[] = []
  while (reader.next()) {
    const kind = KINDS[reader.kind] as GoldenEntry['kind']
    const { partition, baseOffset, segment, position, lastOffsetDelta, maxTimestamp, nextOffset, text } =
      reader
    const byteLength = reader.batchBytes
    if (kind === 'topic') found.push({ kind, partition, text })
    else if (kind === 'position') found.push({ kind, partition, nextOffset, text })
    else if (kind === 'batch' || kind === 'moved')
      found.push({ kind, partition, baseOffset, position, byteLength })
    else
      found.push({
        kind,
        partition,
        baseOffset,
        segment,
        position,
        byteLength,
        lastOffsetDelta,
        maxTimestamp,
      })
  }
  return found
}

for (const file of fs.readdirSync(GOLDEN).filter((name) => name.endsWith('.json'))) {
  test(`golden ${file}`, () => {
    const group = JSON.parse(fs.readFileSync(path.join(GOLDEN, file), 'utf8')) as GoldenGroup
    const bytes = Buffer.from(
      fs.readFileSync(path.join(GOLDEN, file.replace('.json', '.hex')), 'utf8').replace(/\s/g, ''),
      'hex',
    )
    assert.equal(encode(group).toString('hex'), bytes.toString('hex'))
    const expected = group.entries.map(({ records: _, ...rest }) => rest)
    assert.deepEqual(decode(bytes, group), expected)
  })
}

test('a group is not valid when cut, in another segment, or with one bit changed', () => {
  const file = path.join(GOLDEN, 'every-kind')
  const group = JSON.parse(fs.readFileSync(`${file}.json`, 'utf8')) as GoldenGroup
  const bytes = encode(group)
  const salt = Buffer.from(group.salt, 'hex')
  const isValid = (changed: Uint8Array, under: Uint8Array = salt): boolean => {
    const reader = new GroupReader()
    return reader.openHead(changed, under, 64) === 0 && reader.isWhole(changed)
  }
  assert.ok(isValid(bytes))
  assert.ok(!isValid(bytes, Buffer.alloc(8, 1)))
  for (let length = 0; length < bytes.length; length++)
    assert.ok(!isValid(bytes.subarray(0, length)), `${length}`)
  for (let at = 0; at < bytes.length; at++) {
    const changed = Uint8Array.from(bytes)
    changed[at]! ^= 1 << (at % 8)
    assert.ok(!isValid(changed), `byte ${at}`)
  }
})

test('segment headers and names', () => {
  fc.assert(
    fc.property(
      fc.uuid(),
      fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      fc.uint8Array({ minLength: 8, maxLength: 8 }),
      fc.nat(39),
      (logId, segment, salt, flip) => {
        const bytes = encodeSegmentHeader({ logId, segment, salt })
        assert.equal(bytes.length, 64)
        assert.deepEqual(decodeSegmentHeader(bytes), { logId, segment, salt })
        bytes[flip]! ^= 1
        assert.equal(decodeSegmentHeader(bytes), undefined)
        assert.equal(segmentOfName(segmentName(segment)), segment)
      },
    ),
  )
  assert.equal(segmentName(7), '0000000007.segment')
  for (const name of ['7.segment', '0000000007.segment.preparing', 'checkpoint', ''])
    assert.equal(segmentOfName(name), undefined)
})

test('any bytes are read without an error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const salt = Uint8Array.from(bytes.subarray(4, 12))
      bytes.set([0x4d, 0x52, 0x47, 0x31].slice(0, bytes.length))
      const result = new GroupReader().openHead(bytes, salt.length === 8 ? salt : new Uint8Array(8), 64)
      assert.ok(result === -1 || result > bytes.length)
    }),
  )
})
