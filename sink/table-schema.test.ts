import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findIncompatibilities } from '../schemas/registry-compatibility.ts'
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
  assert.match(
    layout.properties[COLUMNS_PROPERTY]!,
    /^1:device_id,2:event_time,3:_log_partition,.*,8:_quality$/,
  )
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
  const x = (type: unknown, more = {}) => record(TIME, { name: 'x', type, ...more })
  assert.equal(tableEvolutionProblem(x('int'), x('long')), undefined)
  assert.equal(tableEvolutionProblem(x('int'), record(TIME)), undefined)
  assert.equal(tableEvolutionProblem(record(TIME), x(['null', 'int'], { default: null })), undefined)
  assert.match(tableEvolutionProblem(record(TIME), x('int'))!, /no default .*may wait in the log/)
  assert.match(tableEvolutionProblem(x('int'), x('double'))!, /^x: .*int cannot become double/)
  assert.match(tableEvolutionProblem(x('string'), x('bytes'))!, /string cannot become binary/)
  const inner = (type: unknown) => x({ type: 'record', name: 'inner', fields: [{ name: 'y', type }] })
  assert.match(tableEvolutionProblem(inner('long'), inner('float'))!, /^x\.y: /)
})

const logical = (type: string, logicalType: string, more = {}) => ({ type, logicalType, ...more })
const digits = (precision: number, scale: number) => logical('bytes', 'decimal', { precision, scale })
const array = (items: unknown) => ({ type: 'array', items })
const map = (values: unknown) => ({ type: 'map', values })
const inner = (...fields: unknown[]) => ({ type: 'record', name: 'inner', fields })
const enumOf = (...symbols: string[]) => ({ type: 'enum', name: 'e', symbols })

/** Every kind of change of a field's type; `refused`: by what registration says. */
const CHANGES: [string, from: unknown, to: unknown, refused: RegExp | undefined][] = [
  ['int to long', 'int', 'long', undefined],
  ['float to double', 'float', 'double', undefined],
  ['a more precise decimal', digits(9, 2), digits(20, 2), undefined],
  ['optional', 'int', ['null', 'int'], undefined],
  ['optional and wider', 'int', ['null', 'long'], undefined],
  ['more symbols', enumOf('A'), enumOf('A', 'B'), undefined],
  ['wider elements', array('int'), array('long'), undefined],
  ['optional elements', array('int'), array(['null', 'int']), undefined],
  ['wider values', map('float'), map('double'), undefined],
  ['a nested field added', inner(), inner({ name: 'a', type: ['null', 'int'], default: null }), undefined],
  ['a nested field dropped', inner({ name: 'a', type: 'int' }), inner(), undefined],
  [
    'a nested field renamed and widened',
    inner({ name: 'a', type: 'int' }),
    inner({ name: 'b', aliases: ['a'], type: 'long' }),
    undefined,
  ],
  ['int to float', 'int', 'float', /^x: .*int cannot become float/],
  ['int to double', 'int', 'double', /^x: .*int cannot become double/],
  ['long to double', 'long', 'double', /^x: .*long cannot become double/],
  ['long to int', 'long', 'int', /TYPE_MISMATCH/],
  ['double to float', 'double', 'float', /TYPE_MISMATCH/],
  ['required again', ['null', 'int'], 'int', /TYPE_MISMATCH/],
  ['string to bytes', 'string', 'bytes', /^x: .*string cannot become binary/],
  ['bytes to string', 'bytes', 'string', /^x: .*binary cannot become string/],
  ['a less precise decimal', digits(20, 2), digits(9, 2), /LOGICAL_TYPE_MISMATCH/],
  ['another scale', digits(9, 2), digits(9, 3), /LOGICAL_TYPE_MISMATCH/],
  ['a number becomes a time', 'long', logical('long', 'timestamp-micros'), /long cannot become timestamptz/],
  ['a time becomes a number', logical('long', 'timestamp-micros'), 'long', /timestamptz cannot become long/],
  [
    'another unit of time',
    logical('long', 'timestamp-millis'),
    logical('long', 'timestamp-micros'),
    /LOGICAL_TYPE_MISMATCH/,
  ],
  ['int to date', 'int', logical('int', 'date'), /int cannot become date/],
  ['uuid to string', logical('string', 'uuid'), 'string', /uuid cannot become string/],
  ['enum to string', enumOf('A'), 'string', /TYPE_MISMATCH/],
  [
    'another size',
    { type: 'fixed', name: 'f', size: 4 },
    { type: 'fixed', name: 'f', size: 5 },
    /FIXED_SIZE_MISMATCH/,
  ],
  ['record to map', inner({ name: 'a', type: 'int' }), map('int'), /TYPE_MISMATCH/],
  ['elements of another type', array('int'), array('double'), /^x\.element: .*int cannot become double/],
  ['values of another type', map('long'), map('double'), /^x\.value: .*long cannot become double/],
  [
    'a nested field of another type',
    inner({ name: 'a', type: 'int' }),
    inner({ name: 'a', type: 'double' }),
    /^x\.a: .*int cannot become double/,
  ],
]

for (const [what, from, to, refused] of CHANGES)
  test(`a contract changes: ${what} is ${refused === undefined ? 'accepted' : 'refused at registration'}`, () => {
    const [before, after] = [from, to].map((type) => record(TIME, { name: 'x', type }))
    // What registration asks, in its order: the registry's compatibility, then the table.
    const [found] = findIncompatibilities('BACKWARD', after!, [{ version: 1, schema: before! }])
    const problem = found?.message ?? tableEvolutionProblem(before!, after!)
    if (refused === undefined) assert.equal(problem, undefined)
    else assert.match(problem ?? 'accepted', refused)
    // Where a subject's level compares nothing, the table still does.
    assert.equal(tableEvolutionProblem(before!, after!) === undefined, refused === undefined)
  })
