// What engines do with these texts is shown by the interop suite; here is what the shipped contracts have no case of.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { schema } from './schema.ts'
import { connectSink, flinkTable, sparkReader } from './schema-export.ts'

const AT = { bootstrap: 'broker:9092', registry: 'http://registry:8081', prefix: 'plant.' }
const long = (logicalType: string): object => ({ type: 'long', logicalType })
const SOURCE = {
  tenant: 'acme',
  stream: 'pump',
  avro: JSON.stringify({
    type: 'record',
    name: 'pump',
    fields: [
      { name: 'clock', type: long('timestamp-millis'), doc: "the pump's" },
      { name: 'clock_ts', type: ['null', 'double'], default: null },
      { name: 'offset', type: 'long' },
      { name: 'opens', type: ['null', { type: 'int', logicalType: 'time-millis' }], default: null },
      { name: 'closes', type: { type: 'array', items: long('time-micros') }, default: [] },
      { name: 'made', type: { type: 'int', logicalType: 'date' } },
      { name: 'sum', type: { type: 'bytes', logicalType: 'decimal', precision: 9, scale: 2 } },
    ],
  }),
}

test('readers take what is committed', () => {
  assert.match(flinkTable(SOURCE, AT), /'properties\.isolation\.level' = 'read_committed'/)
  assert.match(sparkReader(SOURCE, AT), /\.option\("kafka\.isolation\.level", "read_committed"\)/)
  const { config } = JSON.parse(connectSink(SOURCE, AT)) as { config: Record<string, string> }
  assert.equal(config['consumer.override.isolation.level'], 'read_committed')
})

test('topics have the prefix that they have on Kafka', () => {
  assert.match(flinkTable(SOURCE, AT), /'topic' = 'plant\.acme\.pump\.normalized'/)
  assert.match(sparkReader(SOURCE, AT), /\("subscribe", "plant\.acme\.pump\.normalized"\)/)
  const { config } = JSON.parse(connectSink(SOURCE, AT)) as { config: Record<string, string> }
  assert.equal(config['topics'], 'plant.acme.pump.normalized')
})

test('Flink’s columns have the types of the schema in the table, and names of their own', () => {
  const table = flinkTable(SOURCE, AT)
  const columns = [...table.matchAll(/^ {2}`(\w+)` (.*?),?$/gm)].map((match) => `${match[1]} ${match[2]}`)
  assert.deepEqual(columns, [
    'device_id STRING',
    'clock BIGINT NOT NULL',
    'clock_ts DOUBLE',
    'offset BIGINT NOT NULL',
    'opens INT',
    'closes ARRAY<BIGINT NOT NULL> NOT NULL',
    'made DATE NOT NULL',
    'sum DECIMAL(9, 2) NOT NULL',
    "_log_partition INT METADATA FROM 'partition' VIRTUAL",
    "_offset BIGINT METADATA FROM 'offset' VIRTUAL",
    "_receive_time TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL",
    'clock_ts_ AS TO_TIMESTAMP_LTZ(`clock`, 3)',
  ])
  const schema = JSON.parse(/avro-confluent\.schema' = '(.*)'$/m.exec(table)![1]!) as { fields: unknown }
  assert.deepEqual(schema.fields, [
    { name: 'clock', type: 'long', doc: "the pump's" },
    { name: 'clock_ts', type: ['null', 'double'], default: null },
    { name: 'offset', type: 'long' },
    { name: 'opens', type: ['null', 'int'], default: null },
    { name: 'closes', type: { type: 'array', items: 'long' }, default: [] },
    { name: 'made', type: { type: 'int', logicalType: 'date' } },
    { name: 'sum', type: { type: 'bytes', logicalType: 'decimal', precision: 9, scale: 2 } },
  ])
})

test('two forms at once are refused instead of one of them printed', async () => {
  await assert.rejects(schema.run(['show', '--flink', '--spark']), {
    code: 'option_invalid',
    message: /^--flink and --spark: /,
  })
})
