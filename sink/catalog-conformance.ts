// What every catalog does, whoever keeps its pointers: one suite for SQLite, memory and REST, also against a server
// of others (test/interop).
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isMillraceError } from '../std/errors.ts'
import type { Catalog, TableId } from './catalog.ts'
import { currentSnapshot } from './iceberg/metadata.ts'
import { placeKey } from './store.ts'
import { newTableLayout, telemetryShape } from './table-schema.ts'

export interface OpenCatalog {
  catalog: Catalog
  /** In which the suite makes its tables, and which does not exist yet. */
  namespace: string
  close(): Promise<void>
}

/** A table with nested fields, whose ids a server could choose in more than one order. */
export function conformanceLayout() {
  const point = {
    type: 'record',
    name: 'point',
    fields: [
      { name: 'x', type: 'double' },
      { name: 'y', type: ['null', 'double'] },
    ],
  }
  const schema = {
    type: 'record',
    name: 'r',
    fields: [
      { name: 'event_time', type: { type: 'long', logicalType: 'timestamp-micros' } },
      { name: 'points', type: { type: 'map', values: point } },
      { name: 'tags', type: { type: 'array', items: 'string' } },
    ],
  }
  return newTableLayout(
    telemetryShape({ schema: JSON.stringify(schema), eventTime: 'event_time', bucketDevices: 4 }),
  )
}

/** A snapshot id beyond 2^53, as other engines make them. */
const FOREIGN_SNAPSHOT = 8_744_736_658_442_914_487n

export function catalogConformance(kind: string, open: () => Promise<OpenCatalog>): void {
  test(`${kind}: tables and namespaces come and go`, async () => {
    const { catalog, namespace, close } = await open()
    const id: TableId = { namespace, name: 'telemetry' }
    await catalog.createNamespace(namespace)
    await catalog.createNamespace(namespace)
    assert.ok((await catalog.listNamespaces()).includes(namespace))
    assert.equal(await catalog.load(id), undefined)
    const made = await catalog.create(id, conformanceLayout())
    assert.deepEqual((await catalog.load(id))!.metadata, made.metadata)
    await assert.rejects(catalog.create(id, conformanceLayout()), (error) =>
      isMillraceError(error, 'table_conflict'),
    )
    await assert.rejects(catalog.dropNamespace(namespace), (error) =>
      isMillraceError(error, 'table_conflict'),
    )
    const other = { namespace, name: 'other' }
    await catalog.commit(id, [], [{ action: 'set-properties', updates: { used: 'yes' } }])
    await catalog.rename(id, other)
    assert.deepEqual(await catalog.listTables(namespace), [other])
    const again = await catalog.create(id, conformanceLayout())
    const moved = (await catalog.load(other))!
    assert.notEqual(again.metadata.location, moved.metadata.location, 'a folder of its own')
    // The reference server says file:/ where it was told file:///.
    assert.ok(placeKey(again.metadataLocation).startsWith(placeKey(`${again.metadata.location}/metadata/`)))
    assert.deepEqual((await catalog.listTables(namespace)).map((one) => one.name).sort(), [
      'other',
      'telemetry',
    ])
    await assert.rejects(catalog.rename(other, id), (error) => isMillraceError(error, 'table_conflict'))
    assert.equal(await catalog.drop(other), true)
    assert.equal(await catalog.drop(other), false)
    await assert.rejects(catalog.rename(other, id), (error) => isMillraceError(error, 'table_missing'))
    await catalog.drop(id)
    await catalog.dropNamespace(namespace)
    assert.ok(!(await catalog.listNamespaces()).includes(namespace))
    await close()
  })

  test(`${kind}: a new table is what was asked for, to the field ids`, async () => {
    const { catalog, namespace, close } = await open()
    await catalog.createNamespace(namespace)
    const layout = conformanceLayout()
    const { metadata } = await catalog.create({ namespace, name: 'ids' }, layout)
    assert.equal(metadata['format-version'], 2)
    assert.deepEqual(metadata.schemas[0]!.fields, layout.schema.fields)
    assert.equal(metadata['last-column-id'], layout.lastColumnId)
    assert.deepEqual(metadata['partition-specs'][0]!.fields, layout.spec.fields)
    assert.deepEqual(
      metadata['sort-orders'].find((one) => one['order-id'] === metadata['default-sort-order-id'])!.fields,
      layout.sortOrder.fields,
    )
    for (const [name, value] of Object.entries(layout.properties))
      assert.equal(metadata.properties[name], value, name)
    await close()
  })

  test(`${kind}: a commit needs its requirements, and others come first only where they break none`, async () => {
    const { catalog, namespace, close } = await open()
    const id: TableId = { namespace, name: 'telemetry' }
    await catalog.createNamespace(namespace)
    const made = await catalog.create(id, conformanceLayout())
    const uuid = made.metadata['table-uuid']
    const set = (key: string) =>
      catalog.commit(
        id,
        [{ type: 'assert-table-uuid', uuid }],
        [{ action: 'set-properties', updates: { [key]: 'x' } }],
      )
    await Promise.all([set('a'), set('b'), set('c')])
    const after = (await catalog.load(id))!
    assert.deepEqual(
      ['a', 'b', 'c'].map((key) => after.metadata.properties[key]),
      ['x', 'x', 'x'],
    )
    const another = '00000000-0000-4000-8000-000000000000'
    await assert.rejects(
      catalog.commit(id, [{ type: 'assert-table-uuid', uuid: another }], []),
      (error) => isMillraceError(error, 'table_conflict') && /uuid/i.test(error.message),
    )
    await assert.rejects(catalog.commit({ namespace, name: 'nothing' }, [], []), (error) =>
      isMillraceError(error, 'table_missing'),
    )
    await close()
  })

  test(`${kind}: snapshots are added, referred to and removed, their ids exact`, async () => {
    const { catalog, namespace, close } = await open()
    const id: TableId = { namespace, name: 'telemetry' }
    await catalog.createNamespace(namespace)
    const { metadata } = await catalog.create(id, conformanceLayout())
    const add = (snapshotId: number | bigint, parentId: number | bigint | undefined, sequence: number) =>
      catalog.commit(
        id,
        [{ type: 'assert-ref-snapshot-id', ref: 'main', 'snapshot-id': parentId ?? null }],
        [
          {
            action: 'add-snapshot',
            snapshot: {
              'snapshot-id': snapshotId,
              ...(parentId === undefined ? {} : { 'parent-snapshot-id': parentId }),
              'sequence-number': sequence,
              'timestamp-ms': Date.now(),
              'manifest-list': `${metadata.location}/metadata/snap-${snapshotId}.avro`,
              summary: { operation: 'append', 'millrace.offsets': '{}' },
              'schema-id': 0,
            },
          },
          { action: 'set-snapshot-ref', 'ref-name': 'main', type: 'branch', 'snapshot-id': snapshotId },
        ],
      )
    await add(FOREIGN_SNAPSHOT, undefined, 1)
    const second = await add(42, FOREIGN_SNAPSHOT, 2)
    assert.equal(currentSnapshot(second.metadata)!['parent-snapshot-id'], FOREIGN_SNAPSHOT)
    assert.equal(currentSnapshot(second.metadata)!.summary['millrace.offsets'], '{}')
    await assert.rejects(add(43, FOREIGN_SNAPSHOT, 3), (error) => isMillraceError(error, 'table_conflict'))
    const back = await catalog.commit(
      id,
      [],
      [
        {
          action: 'set-snapshot-ref',
          'ref-name': 'main',
          type: 'branch',
          'snapshot-id': FOREIGN_SNAPSHOT,
        },
        { action: 'remove-snapshots', 'snapshot-ids': [42] },
      ],
    )
    assert.deepEqual(
      back.metadata.snapshots.map((one) => one['snapshot-id']),
      [FOREIGN_SNAPSHOT],
    )
    assert.equal(currentSnapshot((await catalog.load(id))!.metadata)!['snapshot-id'], FOREIGN_SNAPSHOT)
    await close()
  })
}
