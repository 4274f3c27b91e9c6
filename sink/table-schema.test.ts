import assert from 'node:assert/strict'
import { test } from 'node:test'
import { REJECTED_SCHEMA } from '../schemas/rejected.ts'
import { isMillraceError } from '../std/errors.ts'
import {
  COLUMNS_PROPERTY,
  newTableLayout,
  rejectedShape,
  tableEvolutionProblem,
  telemetryShape,
} from './table-schema.ts'

const record = (...fields: unknown[]) => JSON.stringify({ type: 'record', name: 'r', fields })
const TIME = { name: 'event_time', type: { type: 'long', logicalType: 'timestamp-micros' } }

test('each Avro type has its column type', () => {
  const types: [unknown, unknown][] = [
    ['boolean', 'boolean'],
    ['int', 'int'],
    ['long', 'long'],
    ['float', 'float'],
    ['double', 'double'],
    ['string', 'string'],
    ['bytes', 'binary'],
    [{ type: 'int', logicalType: 'date' }, 'date'],
    [{ type: 'int', logicalType: 'time-millis' }, 'time'],
    [{ type: 'long', logicalType: 'time-micros' }, 'time'],
    [{ type: 'long', logicalType: 'timestamp-millis' }, 'timestamptz'],
    [{ type: 'long', logicalType: 'timestamp-micros' }, 'timestamptz'],
    [{ type: 'string', logicalType: 'uuid' }, 'uuid'],
    [{ type: 'bytes', logicalType: 'decimal', precision: 9, scale: 2 }, 'decimal(9, 2)'],
    [{ type: 'fixed', name: 'f', size: 8 }, 'fixed[8]'],
    [
      { type: 'fixed', name: 'd', size: 8, logicalType: 'decimal', precision: 18, scale: 0 },
      'decimal(18, 0)',
    ],
    [{ type: 'enum', name: 'e', symbols: ['A'] }, 'string'],
    [
      { type: 'array', items: ['null', 'int'] },
      { kind: 'list', element: 'int', elementRequired: false },
    ],
    [
      { type: 'map', values: 'long' },
      { kind: 'map', key: 'string', value: 'long', valueRequired: true },
    ],
  ]
  for (const [avro, wanted] of types) {
    const { fields } = telemetryShape({ schema: record(TIME, { name: 'x', type: avro }) })
    assert.deepEqual(fields.find((field) => field.name === 'x')!.type, wanted, JSON.stringify(avro))
  }
})

test('a table begins with the device, ends with the lineage, and is laid out by day and device', () => {
  const shape = telemetryShape({ schema: record(TIME), eventTime: 'event_time', bucketDevices: 4 })
  const layout = newTableLayout(shape)
  assert.deepEqual(
    layout.schema.fields.map((field) => `${field.id} ${field.name}${field.required ? '' : '?'}`),
    [
      '1 device_id',
      '2 event_time',
      '3 _log_partition',
      '4 _offset',
      '5 _receive_time',
      '6 _schema_id',
      '7 _late_ms',
      '8 _quality?',
    ],
  )
  assert.deepEqual(
    layout.spec.fields.map((field) => [field['source-id'], field['field-id'], field.name, field.transform]),
    [
      [2, 1000, 'event_time_day', 'day'],
      [1, 1001, 'device_id_bucket', 'bucket[4]'],
    ],
  )
  assert.deepEqual(
    layout.sortOrder.fields.map((field) => field['source-id']),
    [1, 2],
  )
  assert.equal(layout.properties[COLUMNS_PROPERTY], '1,2,3,4,5,6,7,8')
})

test('a stream without event time is laid out by receive time, rejected records by theirs', () => {
  const plain = newTableLayout(telemetryShape({ schema: record({ name: 'x', type: 'int' }) }))
  assert.equal(plain.spec.fields[0]!.name, '_receive_time_day')
  const rejected = newTableLayout(rejectedShape(REJECTED_SCHEMA, 'receive_time', 'device'))
  assert.equal(rejected.spec.fields[0]!.name, 'receive_time_day')
  assert.deepEqual(
    rejected.schema.fields.slice(-2).map((field) => field.name),
    ['_log_partition', '_offset'],
  )
})

test('what a table cannot hold is refused with its path', () => {
  const refuse = (path: string, ...fields: unknown[]) =>
    assert.throws(
      () => telemetryShape({ schema: record(TIME, ...fields) }),
      (error) => isMillraceError(error, 'schema_invalid') && error.message.startsWith(path),
    )
  refuse('x', { name: 'x', type: ['int', 'string'] })
  refuse('x.y', {
    name: 'x',
    type: { type: 'record', name: 'inner', fields: [{ name: 'y', type: ['null', 'int', 'string'] }] },
  })
  refuse('x[]', { name: 'x', type: { type: 'array', items: 'null' } })
  refuse('x{}', { name: 'x', type: { type: 'map', values: ['int', 'string'] } })
  refuse('Device_Id', { name: 'Device_Id', type: 'int' })
})

test('a change that a table cannot follow is told before anything is registered', () => {
  const x = (type: unknown) => record(TIME, { name: 'x', type })
  assert.equal(tableEvolutionProblem(x('int'), x('long')), undefined)
  assert.equal(tableEvolutionProblem(x('int'), record(TIME)), undefined)
  assert.equal(tableEvolutionProblem(record(TIME), x(['null', 'int'])), undefined)
  assert.match(tableEvolutionProblem(x('int'), x('double'))!, /^x: .*int cannot become double/)
  assert.match(tableEvolutionProblem(x('string'), x('bytes'))!, /string cannot become binary/)
  const inner = (type: unknown) => x({ type: 'record', name: 'inner', fields: [{ name: 'y', type }] })
  assert.match(tableEvolutionProblem(inner('long'), inner('float'))!, /^x\.y: /)
})
