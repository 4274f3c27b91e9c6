import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { LogDump } from './dump.ts'
import { entry, TOPIC_DEFAULTS } from './log-conformance.ts'
import { openEmbeddedLog } from './log-embedded.ts'
import { RecordBatchBuilder } from './record-batch.ts'

const DIR = '/data/log'

test('a log in use is read without changing a byte of it', async () => {
  const disk = new SimulatedDisk()
  const log = openEmbeddedLog({ disk, dir: DIR, segmentBytes: 4096, background: false })
  await log.createTopic('t', TOPIC_DEFAULTS)
  const builder = new RecordBatchBuilder()
  builder.append(1_700_000_000_123, Buffer.from('key'), Buffer.from('value'), [
    { key: 'mark', value: Buffer.from('m') },
  ])
  builder.append(1_700_000_000_124, Buffer.from('key'), undefined)
  await log.append({ entries: [{ topic: 't', partition: 1, batch: builder.finish(), recordCount: 2 }] })
  for (let i = 0; i < 50; i++) await log.append({ entries: [entry('t', 0, [['k', 'v'.repeat(200)]])] })
  await log.append({ entries: [], positions: [{ stage: 'sink', topic: 't', partition: 1, nextOffset: 2 }] })

  const before = disk.operationCount
  const dump = new LogDump(DIR, disk)
  assert.equal(dump.id, log.id)
  assert.deepEqual(
    dump
      .partitions()
      .map(({ topic, partition, start, end, positions }) => [
        topic.name,
        partition,
        start,
        end,
        [...positions],
      ]),
    [
      ['t', 0, 0, 50, []],
      ['t', 1, 0, 2, [['sink', 2]]],
    ],
  )
  const [first, second] = [...dump.records('t', 1)]
  assert.deepEqual(
    {
      ...first,
      key: String(first!.key && Buffer.from(first!.key)),
      value: Buffer.from(first!.value!).toString(),
    },
    {
      topic: 't',
      partition: 1,
      offset: 0,
      timestamp: 1_700_000_000_123,
      key: 'key',
      value: 'value',
      headers: [{ key: 'mark', value: Uint8Array.from(Buffer.from('m')) }],
    },
  )
  assert.equal(second!.value, undefined)
  assert.deepEqual(
    [...dump.records('t', 0, 47)].map((record) => record.offset),
    [47, 48, 49],
  )
  assert.throws(() => [...dump.records('none', 0)], { code: 'topic_unknown' })
  assert.equal(disk.operationCount, before)
  await log.append({ entries: [entry('t', 0, [['k', 'the log goes on']])] })
  await log.close()
  assert.equal([...new LogDump(DIR, disk).records('t', 0)].length, 51)
})

test('an empty folder is no log', () => {
  assert.throws(() => new LogDump('/nowhere', new SimulatedDisk()), { code: 'topic_unknown' })
})
