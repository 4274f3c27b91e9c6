// Makes the golden tables: what our tables may look like after a year, small, with the rows that they must hold as
// JSON, so that any engine can be asked for them. Avro payloads are encoded by avsc, not by code of ours.
//
//   makeGoldenTables(dir) → { catalog, warehouse, tables: [{ name, snapshot?, rowsFile }] }, also as dir/golden.json
//
//   catalog      path of the SQLite catalog (JDBC-V1), catalog name `millrace`
//   name         `golden.<table>`
//   snapshot     decimal text: read the table as of that snapshot, in that snapshot's schema; else the current one
//   rowsFile     one JSON object a line, by column name, ordered by (_log_partition, _offset); every row, every column
//
// What JSON has no type for: timestamps and times are integers of microseconds (since the epoch, since midnight), dates
// ISO text, decimals and uuids their text, bytes hexadecimal text, NaN and infinities `nan`, `inf`, `-inf`. Longs are
// JSON integers over the whole 64-bit range (JSON.parse alone would round them), -0.0 is `-0.0`.

import { currentSnapshot } from '../sink/iceberg/metadata.ts'
import { expireSnapshots } from '../sink/maintenance-expire.ts'
import { mergeManifests } from '../sink/maintenance-manifests.ts'
import { FIRST_MS, type GoldenTables, Maker, World } from './golden-maker.ts'
import {
  bytes,
  type Cell,
  date,
  decimal,
  decimalSchema,
  EVENT_TIME,
  type Fields,
  float,
  int,
  list,
  logical,
  optional,
  type Plain,
  record,
  same,
  struct,
} from './golden-values.ts'

const DAY_MS = 86_400_000
const LONG_MIN = -(2n ** 63n)
const LONG_MAX = 2n ** 63n - 1n

/** Makes them under `dir`, which must be an absolute path of an empty folder. */
export async function makeGoldenTables(dir: string): Promise<GoldenTables> {
  const world = new World(dir)
  await types(world)
  await times(world)
  await nested(world)
  await evolved(world)
  await compacted(world)
  await late(world)
  await rolledBack(world)
  await bucketed(world)
  return world.finish()
}

const eventTime = (day: number, n: number): Cell => same(BigInt(FIRST_MS + day * DAY_MS) * 1000n + BigInt(n))

type Kind = [name: string, type: unknown, cells: Cell[]]

/** Every type but times of the day, required and nullable, at its extremes. */
async function types(world: World): Promise<void> {
  await kindsTable(world, 'types', [
    ['b', 'boolean', [same(true), same(false)]],
    ['i', 'int', [int(0), int(-(2 ** 31)), int(2 ** 31 - 1)]],
    ['l', 'long', [same(0n), same(LONG_MIN), same(LONG_MAX), same(2n ** 53n + 1n), same(-1n)]],
    [
      'f',
      'float',
      [1.5, Number.NaN, -0, 0, Infinity, -Infinity, Math.fround(3.4e38), Math.fround(1e-45)].map(float),
    ],
    [
      'd',
      'double',
      [0.1, Number.NaN, -0, 0, Infinity, -Infinity, Number.MAX_VALUE, Number.MIN_VALUE, -1e-300].map(float),
    ],
    [
      's',
      'string',
      [
        '',
        'a',
        'ß€ 𝄞',
        '\u{10FFFF}',
        '\uFFFD',
        'x'.repeat(100_000),
        '\u{10FFFF}'.repeat(40),
        '\'"\\\n\0',
      ].map(same),
    ],
    [
      'y',
      'bytes',
      [bytes(Buffer.alloc(0)), bytes(Buffer.alloc(5000, 0xff)), bytes(Buffer.from([0, 128, 255]))],
    ],
    ['dt', logical('int', 'date'), [date(0), date(-1), date(-719_162), date(2_932_896)]],
    [
      'zm',
      logical('long', 'timestamp-millis'),
      [0n, -1n, -62_135_596_800_000n, 253_402_300_799_999n].map((ms) => ({ avro: ms, plain: ms * 1000n })),
    ],
    [
      'zu',
      logical('long', 'timestamp-micros'),
      [same(0n), same(-1n), same(-62_135_596_800_000_000n), same(253_402_300_799_999_999n)],
    ],
    [
      'u',
      logical('string', 'uuid'),
      [
        same('00000000-0000-0000-0000-000000000000'),
        same('ffffffff-ffff-4fff-bfff-ffffffffffff'),
        same('0193e2a4-7c1e-7000-8000-000000000001'),
      ],
    ],
    [
      'x',
      { type: 'fixed', name: 'x5', size: 5 },
      [bytes(Buffer.alloc(5)), bytes(Buffer.alloc(5, 0xff)), bytes(Buffer.from('hello'))],
    ],
    ['n9', decimalSchema(9, 2), [0n, 999_999_999n, -999_999_999n, -1n].map((one) => decimal(one, 2))],
    ['n18', decimalSchema(18, 0), [0n, 10n ** 18n - 1n, -(10n ** 18n) + 1n].map((one) => decimal(one, 0))],
    [
      'n38',
      decimalSchema(38, 10),
      [0n, 10n ** 38n - 1n, -(10n ** 38n) + 1n, 255n].map((one) => decimal(one, 10)),
    ],
    [
      'nf',
      { type: 'fixed', name: 'nf8', size: 8, logicalType: 'decimal', precision: 16, scale: 3 },
      [0n, 10n ** 16n - 1n, -(10n ** 16n) + 1n].map((one) => decimal(one, 3, 8)),
    ],
    [
      'e',
      { type: 'enum', name: 'e1', symbols: ['OFF', 'ON', 'unknown_2'] },
      ['OFF', 'ON', 'unknown_2'].map(same),
    ],
  ])
}

/** Times of the day in a table of their own: Spark reads no table that has such a column. */
async function times(world: World): Promise<void> {
  await kindsTable(world, 'times', [
    [
      'tm',
      logical('int', 'time-millis'),
      [0, 86_399_999, 43_200_123].map((ms) => ({ avro: ms, plain: ms * 1000 })),
    ],
    ['tu', logical('long', 'time-micros'), [same(0n), same(86_399_999_999n), same(1n)]],
  ])
}

/** A table with two columns of each kind, one of them nullable, and values that meet in every combination. */
async function kindsTable(world: World, name: string, kinds: readonly Kind[]): Promise<void> {
  const maker = new Maker(world, name)
  const named = (type: unknown): unknown =>
    typeof type === 'object' && type !== null && 'name' in type
      ? { ...type, name: `${String(type.name)}_o` }
      : type
  await maker.contract(
    record(name, [
      EVENT_TIME,
      ...kinds.flatMap(([name, type]) => [{ name, type }, optional(`${name}_o`, named(type))]),
      optional('all_null', 'double'),
    ]),
  )
  const row = (i: number): Fields => ({
    // Days before 1970, at both ends of a day.
    event_time: i % 3 === 0 ? same(-1n - BigInt(i % 2) * 86_400_000_000n) : eventTime(i % 2, i),
    ...Object.fromEntries(
      kinds.flatMap(([name, , cells]) => [
        [name, cells[i % cells.length]!],
        [`${name}_o`, (i + name.length) % 3 === 0 ? same(null) : cells[(i + 1) % cells.length]!],
      ]),
    ),
    all_null: same(null),
  })
  await maker.send(Array.from({ length: 40 }, (_, i) => row(i)))
  await maker.send(Array.from({ length: 9 }, (_, i) => row(i + 3)))
  await maker.expect(true)
  await maker.compact()
  await maker.expect()
}

/** Structs, lists and maps in one another, with nulls and empties at each level. */
async function nested(world: World): Promise<void> {
  const maker = new Maker(world, 'nested')
  const point = (name: string): object => ({
    type: 'record',
    name,
    fields: [
      { name: 'x', type: 'double' },
      optional('y', 'double'),
      optional('tags', { type: 'array', items: 'string' }),
    ],
  })
  await maker.contract(
    record('nested', [
      EVENT_TIME,
      { name: 'p', type: point('p') },
      optional('p_o', point('p_o')),
      { name: 'strings', type: { type: 'array', items: ['null', 'string'] } },
      optional('matrix', { type: 'array', items: { type: 'array', items: 'long' } }),
      { name: 'points', type: { type: 'array', items: ['null', point('points')] } },
      { name: 'by_name', type: { type: 'map', values: ['null', 'long'] } },
      optional('deep', {
        type: 'map',
        values: {
          type: 'record',
          name: 'deep_value',
          fields: [
            optional('inner', {
              type: 'record',
              name: 'inner',
              fields: [
                { name: 'when', type: logical('long', 'timestamp-micros') },
                optional('cost', decimalSchema(12, 4)),
              ],
            }),
            { name: 'lists', type: { type: 'array', items: { type: 'map', values: 'int' } } },
          ],
        },
      }),
    ]),
  )
  const maybe = (i: number, every: number, cell: () => Cell): Cell => (i % every === 0 ? same(null) : cell())
  const pointOf = (i: number): Cell =>
    struct({
      x: float(i / 3),
      y: maybe(i, 2, () => float(-0)),
      tags: maybe(i, 3, () =>
        list(Array.from({ length: i % 3 }, (_, n) => same(`tag ${n} ${'é'.repeat(n)}`))),
      ),
    })
  const map = (entries: [string, Cell][]): Cell => struct(Object.fromEntries(entries))
  const rowOf = (i: number): Fields => ({
    event_time: eventTime(i % 3, i),
    p: pointOf(i),
    p_o: maybe(i, 4, () => pointOf(i + 1)),
    strings: list(Array.from({ length: i % 4 }, (_, n) => (n === 1 ? same(null) : same(`s${n}`)))),
    matrix: maybe(i, 5, () =>
      list(
        Array.from({ length: i % 3 }, (_, n) =>
          list(Array.from({ length: n }, (_, k) => same(LONG_MAX - BigInt(k)))),
        ),
      ),
    ),
    points: list(Array.from({ length: i % 5 }, (_, n) => maybe(n + 1, 3, () => pointOf(n)))),
    by_name: map(
      Array.from(
        { length: i % 3 },
        (_, n) => [`key ${n} ü`, n === 0 ? same(null) : same(BigInt(n))] as [string, Cell],
      ),
    ),
    deep: maybe(i, 3, () =>
      map(
        Array.from({ length: i % 4 }, (_, n) => [
          `k${n}`,
          struct({
            inner: maybe(n + i, 2, () =>
              struct({
                when: same(BigInt(n) - 5n),
                cost: maybe(n, 2, () => decimal(BigInt(n) * -12_345n, 4)),
              }),
            ),
            lists: list(Array.from({ length: n }, (_, k) => map([[`m${k}`, int(-k)]]))),
          }),
        ]),
      ),
    ),
  })
  await maker.send(Array.from({ length: 30 }, (_, i) => rowOf(i)))
  await maker.send(Array.from({ length: 10 }, (_, i) => rowOf(i + 5)))
  await maker.expect(true)
  await maker.compact()
  await maker.expect()
}

/** Columns added, widened, made optional, renamed, dropped, reordered, nested ones too; old snapshots keep their schema. */
async function evolved(world: World): Promise<void> {
  const maker = new Maker(world, 'evolved')
  await maker.contract(
    record('evolved', [
      EVENT_TIME,
      { name: 'count', type: 'int' },
      { name: 'ratio', type: 'float' },
      { name: 'cost', type: decimalSchema(9, 2) },
      { name: 'label', type: 'string' },
      { name: 'gone', type: 'string' },
      {
        name: 'part',
        type: {
          type: 'record',
          name: 'part',
          fields: [{ name: 'a', type: 'int' }, { name: 'b', type: 'string' }, optional('c', 'float')],
        },
      },
      {
        name: 'series',
        type: {
          type: 'array',
          items: { type: 'record', name: 'item', fields: [{ name: 'v', type: 'int' }] },
        },
      },
    ]),
  )
  const first = (i: number): Fields => ({
    event_time: eventTime(i % 2, i),
    count: int(i - 5),
    ratio: float(Math.fround(i / 7)),
    cost: decimal(BigInt(i) * 101n, 2),
    label: same(`label ${i}`),
    gone: same('gone'),
    part: struct({ a: int(i), b: same(`b${i}`), c: i % 2 === 0 ? same(null) : float(0.5) }),
    series: list(Array.from({ length: i % 3 }, (_, n) => struct({ v: int(n) }))),
  })
  type Row = Record<string, Plain>
  // What a row of the first schema is in the last one.
  const later = (row: Row): Row => {
    const part = row['part'] as Row
    return {
      extra: null,
      title: row['label']!,
      count: row['count']!,
      event_time: row['event_time']!,
      ratio: row['ratio']!,
      cost: row['cost']!,
      part: { d: null, bee: part['b']!, a: part['a']! },
      series: (row['series'] as Row[]).map((one) => ({ v: one['v']!, w: null })),
      limits: null,
    }
  }
  await maker.send(Array.from({ length: 12 }, (_, i) => first(i)))
  await maker.expect(true)
  const before = maker.rows.splice(0)
  for (const { order, row } of before) {
    const { device_id, _log_partition, _offset, _receive_time, _schema_id, _late_ms, _quality, ...fields } =
      row
    const lineage = { _log_partition, _offset, _receive_time, _schema_id, _late_ms, _quality } as Row
    maker.rows.push({ order, row: { device_id: device_id!, ...later(fields as Row), ...lineage } })
  }
  await maker.contract(
    record('evolved', [
      optional('extra', 'string'),
      { name: 'title', aliases: ['label'], type: ['null', 'string'], default: null },
      { name: 'count', type: 'long' },
      EVENT_TIME,
      { name: 'ratio', type: 'double' },
      { name: 'cost', type: decimalSchema(20, 2) },
      {
        name: 'part',
        type: {
          type: 'record',
          name: 'part',
          fields: [
            optional('d', 'long'),
            { name: 'bee', aliases: ['b'], type: 'string' },
            { name: 'a', type: 'long' },
          ],
        },
      },
      {
        name: 'series',
        type: {
          type: 'array',
          items: {
            type: 'record',
            name: 'item',
            fields: [{ name: 'v', type: 'long' }, optional('w', { type: 'array', items: 'string' })],
          },
        },
      },
      optional('limits', { type: 'map', values: 'double' }),
    ]),
  )
  await maker.send(
    Array.from({ length: 12 }, (_, i) => ({
      extra: i % 2 === 0 ? same(null) : same('x'),
      title: i % 3 === 0 ? same(null) : same(`title ${i}`),
      count: same(LONG_MAX - BigInt(i)),
      event_time: eventTime(i % 3, i),
      ratio: float(i / 7),
      cost: decimal(10n ** 19n + BigInt(i), 2),
      part: struct({ d: i % 2 === 0 ? same(null) : same(1n), bee: same('b'), a: same(2n ** 40n) }),
      series: list(
        Array.from({ length: i % 3 }, (_, n) =>
          struct({ v: same(LONG_MIN), w: n === 0 ? same(null) : list([same('w')]) }),
        ),
      ),
      limits: i % 2 === 0 ? same(null) : struct({ low: float(-1), high: float(i) }),
    })),
  )
  await maker.expect(true)
  await maker.compact()
  await maker.expect()
}

const PLAIN = record('plain', [EVENT_TIME, { name: 'n', type: 'long' }, optional('value', 'double')])

const plainRow = (i: number, days: number): Fields => ({
  event_time: eventTime((i * 7) % days, i * 1_000_003),
  n: same(BigInt(i)),
  value: i % 4 === 0 ? same(null) : float(i / 8),
})

/** Many small commits, then compaction, manifest merging and expiry; the state before is read as of its snapshot. */
async function compacted(world: World): Promise<void> {
  const maker = new Maker(world, 'compacted')
  await maker.contract(PLAIN)
  for (let commit = 0; commit < 12; commit++)
    await maker.send(Array.from({ length: 10 }, (_, i) => plainRow(commit * 10 + i, 3)))
  const { tools, catalog } = world.sink
  await expireSnapshots(tools, (await catalog.load(maker.id))!, { snapshotAgeMs: 1e15, snapshotsMax: 1 })
  await maker.expect(true)
  await maker.compact()
  await maker.send([plainRow(500, 3), plainRow(501, 3)])
  await mergeManifests(tools, (await catalog.load(maker.id))!, 2)
  await maker.expect()
}

/** Rows months late, before and after compaction, down to before 1970. */
async function late(world: World): Promise<void> {
  const maker = new Maker(world, 'late')
  await maker.contract(PLAIN)
  await maker.send(Array.from({ length: 10 }, (_, i) => plainRow(i, 2)))
  await maker.send(Array.from({ length: 10 }, (_, i) => plainRow(10 + i, 2)))
  await maker.compact()
  const lateRow = (i: number, day: number): Fields => ({ ...plainRow(i, 2), event_time: eventTime(day, i) })
  await maker.send(Array.from({ length: 20 }, (_, i) => lateRow(100 + i, [0, -90, -400, -20_700][i % 4]!)))
  await maker.expect(true)
  await maker.compact()
  await maker.expect()
}

/** Rolled back by another engine; the rows come again from the log, and new ones after them. */
async function rolledBack(world: World): Promise<void> {
  const maker = new Maker(world, 'rolled_back')
  await maker.contract(PLAIN)
  const { catalog } = world.sink
  await maker.send(Array.from({ length: 10 }, (_, i) => plainRow(i, 2)))
  const first = currentSnapshot((await catalog.load(maker.id))!.metadata)!['snapshot-id']
  await maker.expect(true)
  await maker.send(Array.from({ length: 10 }, (_, i) => plainRow(100 + i, 2)))
  await maker.expect(true)
  await catalog.commit(
    maker.id,
    [],
    [{ action: 'set-snapshot-ref', 'ref-name': 'main', type: 'branch', 'snapshot-id': first }],
  )
  // A table without new rows is looked at every 30 s.
  world.clock.ms += 60_000
  await world.sink.stage.step()
  await world.commit()
  await maker.send(Array.from({ length: 4 }, (_, i) => plainRow(200 + i, 2)))
  await maker.expect()
}

/** bucket[8] of the device beside the day, with rejected records, and a table that holds nothing. */
async function bucketed(world: World): Promise<void> {
  const maker = new Maker(world, 'bucketed')
  await maker.contract(PLAIN, { bucketDevices: 8 })
  for (let commit = 0; commit < 3; commit++)
    await maker.send(Array.from({ length: 30 }, (_, i) => plainRow(commit * 30 + i, 3)))
  await maker.compact()
  await maker.expect()
  const rejected = await maker.reject([
    {
      code: 'json_invalid',
      reason: 'not JSON',
      field: 'a.b',
      offset: 3,
      payload: Buffer.from('{"n":'),
      schemaId: undefined,
      device: 'device-1',
      source: undefined,
      receiveTimeMs: FIRST_MS,
    },
    {
      code: 'rule_refused',
      reason: 'clock was never set ✓',
      field: undefined,
      offset: undefined,
      payload: Buffer.from([0, 0, 0, 0, 7]),
      schemaId: 7,
      device: 'device-2',
      source: { topic: 'golden.bucketed.raw', partition: 1, offset: 2 ** 40 },
      receiveTimeMs: FIRST_MS + DAY_MS,
    },
  ])
  world.expect('bucketed_rejected', rejected, undefined)
  world.expect('late_rejected', [], undefined)
}
