import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isMillraceError } from '../../std/errors.ts'
import { printJson } from './json.ts'
import {
  currentSchema,
  currentSnapshot,
  MAIN,
  newMetadata,
  parseMetadata,
  type TableMetadata,
} from './metadata.ts'
import { summaryOf } from './snapshot.ts'
import { applyUpdates, brokenRequirement, LAST_ADDED, type Requirement, type Update } from './updates.ts'

const base = (): TableMetadata =>
  newMetadata({
    uuid: 'u',
    location: 'file:///t',
    schema: { type: 'struct', 'schema-id': 0, fields: [{ id: 1, name: 'a', required: true, type: 'int' }] },
    lastColumnId: 1,
    spec: { 'spec-id': 0, fields: [{ 'source-id': 1, 'field-id': 1000, name: 'p', transform: 'identity' }] },
    sortOrder: { 'order-id': 1, fields: [] },
    properties: { x: '1' },
    nowMs: 1000,
  })

const snapshot = (id: number | bigint, parent: number | bigint | undefined, sequence: number): Update => ({
  action: 'add-snapshot',
  snapshot: {
    'snapshot-id': id,
    ...(parent === undefined ? {} : { 'parent-snapshot-id': parent }),
    'sequence-number': sequence,
    'timestamp-ms': 1000 + sequence,
    'manifest-list': `file:///t/${id}`,
    summary: { operation: 'append' },
  },
})

const point = (id: number | bigint, ref = MAIN): Update => ({
  action: 'set-snapshot-ref',
  'ref-name': ref,
  type: ref === MAIN ? 'branch' : 'tag',
  'snapshot-id': id,
})

test('an update makes a new document and leaves the old one as it was', () => {
  const before = base()
  const text = printJson(before)
  const after = applyUpdates(
    before,
    [snapshot(7, undefined, 1), point(7), { action: 'set-properties', updates: { y: '2' } }],
    2000,
  )
  assert.equal(printJson(before), text)
  assert.equal(currentSnapshot(after)!['snapshot-id'], 7)
  assert.equal(after['current-snapshot-id'], 7)
  assert.equal(after['last-sequence-number'], 1)
  assert.deepEqual(after.properties, { x: '1', y: '2' })
  assert.deepEqual(after['snapshot-log'], [{ 'timestamp-ms': 1001, 'snapshot-id': 7 }])
})

test('schemas, specs and orders are added under the next id, and -1 is the last one added', () => {
  const after = applyUpdates(
    base(),
    [
      {
        action: 'add-schema',
        schema: {
          type: 'struct',
          'schema-id': 9,
          fields: [{ id: 5, name: 'b', required: false, type: 'int' }],
        },
        'last-column-id': 5,
      },
      { action: 'set-current-schema', 'schema-id': LAST_ADDED },
      {
        action: 'add-spec',
        spec: { 'spec-id': -1, fields: [{ 'source-id': 5, 'field-id': 1004, name: 'q', transform: 'day' }] },
      },
      { action: 'set-default-spec', 'spec-id': LAST_ADDED },
      { action: 'add-sort-order', 'sort-order': { 'order-id': 0, fields: [] } },
      { action: 'set-default-sort-order', 'sort-order-id': LAST_ADDED },
    ],
    2000,
  )
  assert.equal(currentSchema(after)['schema-id'], 1)
  assert.equal(after['last-column-id'], 5)
  assert.equal(after['default-spec-id'], 1)
  assert.equal(after['last-partition-id'], 1004)
  assert.equal(after['default-sort-order-id'], 2)
})

test('a rollback is logged with its own time, removed snapshots shorten the log', () => {
  let at = applyUpdates(base(), [snapshot(1, undefined, 1), point(1)], 2000)
  at = applyUpdates(at, [snapshot(2, 1, 2), point(2)], 2001)
  at = applyUpdates(at, [point(1)], 3000)
  assert.deepEqual(
    at['snapshot-log'].map((entry) => [entry['snapshot-id'], entry['timestamp-ms']]),
    [
      [1, 1001],
      [2, 1002],
      [1, 3000],
    ],
  )
  at = applyUpdates(at, [{ action: 'remove-snapshots', 'snapshot-ids': [2] }], 4000)
  assert.deepEqual(
    at['snapshot-log'].map((entry) => entry['snapshot-id']),
    [1],
  )
  assert.equal(currentSnapshot(at)!['snapshot-id'], 1)
})

test('what does not fit is refused and says why', () => {
  const one = applyUpdates(base(), [snapshot(1, undefined, 5), point(1), point(1, 'keep')], 2000)
  const refuse = (update: Update, words: RegExp) =>
    assert.throws(
      () => applyUpdates(one, [update], 3000),
      (error) => isMillraceError(error, 'table_conflict') && words.test(error.message),
    )
  refuse(snapshot(1, undefined, 6), /there already/)
  refuse(snapshot(2, 1, 5), /sequence number 5 is not above 5/)
  refuse(point(9), /no snapshot 9/)
  refuse({ action: 'remove-snapshots', 'snapshot-ids': [1] }, /points to/)
  refuse({ action: 'set-current-schema', 'schema-id': 4 }, /no schema 4/)
  refuse({ action: 'upgrade-format-version', 'format-version': 3 }, /not written here/)
  refuse({ action: 'set-statistics' } as unknown as Update, /set-statistics is not known/)
})

test('each requirement holds and breaks', () => {
  const at = applyUpdates(
    base(),
    [snapshot(9_007_199_254_740_993n, undefined, 1), point(9_007_199_254_740_993n)],
    1,
  )
  const cases: [Requirement, Requirement][] = [
    [
      { type: 'assert-table-uuid', uuid: 'u' },
      { type: 'assert-table-uuid', uuid: 'v' },
    ],
    [
      { type: 'assert-ref-snapshot-id', ref: MAIN, 'snapshot-id': 9_007_199_254_740_993n },
      { type: 'assert-ref-snapshot-id', ref: MAIN, 'snapshot-id': 9_007_199_254_740_992n },
    ],
    [
      { type: 'assert-ref-snapshot-id', ref: 'other', 'snapshot-id': null },
      { type: 'assert-ref-snapshot-id', ref: MAIN, 'snapshot-id': null },
    ],
    [
      { type: 'assert-last-assigned-field-id', 'last-assigned-field-id': 1 },
      { type: 'assert-last-assigned-field-id', 'last-assigned-field-id': 2 },
    ],
    [
      { type: 'assert-current-schema-id', 'current-schema-id': 0 },
      { type: 'assert-current-schema-id', 'current-schema-id': 1 },
    ],
    [
      { type: 'assert-last-assigned-partition-id', 'last-assigned-partition-id': 1000 },
      { type: 'assert-last-assigned-partition-id', 'last-assigned-partition-id': 999 },
    ],
    [
      { type: 'assert-default-spec-id', 'default-spec-id': 0 },
      { type: 'assert-default-spec-id', 'default-spec-id': 1 },
    ],
    [
      { type: 'assert-default-sort-order-id', 'default-sort-order-id': 1 },
      { type: 'assert-default-sort-order-id', 'default-sort-order-id': 0 },
    ],
  ]
  for (const [holds, breaks] of cases) {
    assert.equal(brokenRequirement(at, [holds]), undefined)
    assert.match(brokenRequirement(at, [holds, breaks])!, /required was/)
  }
  assert.equal(brokenRequirement(undefined, [{ type: 'assert-create' }]), undefined)
  assert.match(brokenRequirement(at, [{ type: 'assert-create' }])!, /exists already/)
  assert.match(brokenRequirement(undefined, [{ type: 'assert-table-uuid', uuid: 'u' }])!, /does not exist/)
  assert.match(brokenRequirement(at, [{ type: 'assert-view-uuid' } as unknown as Requirement])!, /not known/)
})

test('metadata of another format, or none, is refused with the name of the file', () => {
  const refuse = (text: string) =>
    assert.throws(
      () => parseMetadata(text, 'file:///t/x.json'),
      (error) => isMillraceError(error, 'table_foreign') && error.message.includes('file:///t/x.json'),
    )
  refuse('{"format-version":3}')
  refuse('{')
})

test('metadata of other engines is read with what it leaves out', () => {
  const text = printJson({ ...base(), refs: undefined, 'current-snapshot-id': 5, 'metadata-log': undefined })
  const read = parseMetadata(text, 'x')
  assert.deepEqual(read.refs, { main: { 'snapshot-id': 5, type: 'branch' } })
  assert.deepEqual(read['metadata-log'], [])
})

test('totals are carried on, and left out where the parent has none', () => {
  const change = {
    addedFiles: 2,
    addedRows: 10,
    addedBytes: 100,
    deletedFiles: 1,
    deletedRows: 4,
    deletedBytes: 40,
    changedPartitions: 2,
  }
  const first = summaryOf('append', change, undefined, {})
  assert.deepEqual([first['total-records'], first['total-data-files']], ['6', '1'])
  const second = summaryOf('overwrite', change, first, { 'millrace.offsets': '{}' })
  assert.deepEqual([second['total-records'], second['total-files-size']], ['12', '120'])
  assert.equal(second['millrace.offsets'], '{}')
  assert.equal(summaryOf('append', change, {}, {})['total-records'], undefined)
})
