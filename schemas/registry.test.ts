import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordReader } from '../log/record-batch.ts'
import { isMillraceError } from '../std/errors.ts'
import { SCHEMAS_TOPIC } from './names.ts'
import { type RegistryChange, SchemaRegistry } from './registry.ts'
import { COMPATIBILITY_LEVELS } from './registry-compatibility.ts'

const record = (...fields: string[]): string => `{"type":"record","name":"r","fields":[${fields.join(',')}]}`
const A = '{"name":"a","type":"int"}'
const B = '{"name":"b","type":["null","double"],"default":null}'
const C = '{"name":"c","type":"string"}'

const fails =
  (errorCode: number, pattern = /./) =>
  (error: unknown) =>
    isMillraceError(error) && error.details['errorCode'] === errorCode && pattern.test(error.message)

describe('registry', () => {
  test('gives ids once, the same for the same schema, and versions in each subject', async () => {
    const registry = await SchemaRegistry.open(new MemoryLog())
    assert.deepEqual(await registry.register('one-value', record(A)), {
      subject: 'one-value',
      version: 1,
      id: 1,
      schema: record(A),
      deleted: false,
    })
    const spaced = ' { "name": "r", "type": "record", "fields": [ {"type": {"type": "int"}, "name": "a"} ] }'
    assert.equal((await registry.register('one-value', spaced)).version, 1)
    assert.equal((await registry.register('two-value', spaced)).id, 1)
    assert.equal(registry.version('two-value', 'latest').schema, record(A))
    const second = await registry.register('one-value', record(A, B))
    assert.deepEqual([second.id, second.version], [2, 2])
    assert.deepEqual(
      registry.usesOf(1).map((one) => one.subject),
      ['one-value', 'two-value'],
    )
    assert.equal(registry.lookup('one-value', spaced).version, 1)
    assert.throws(() => registry.lookup('one-value', record(C)), fails(40403))
    assert.throws(() => registry.lookup('none-value', record(C)), fails(40401))
    assert.throws(() => registry.version('one-value', 3), fails(40402))
    assert.throws(() => registry.schemaOf(9), fails(40403))
  })

  test('knows everything again after a restart', async () => {
    const log = new MemoryLog()
    const before = await SchemaRegistry.open(log)
    await before.register('one-value', record(A))
    await before.register('one-value', record(A, B))
    await before.setLevel('full', 'one-value')
    await before.setLevel('NONE')
    await before.deleteVersion('one-value', 1, false)
    const after = await SchemaRegistry.open(log)
    assert.deepEqual(after.versions('one-value', true), before.versions('one-value', true))
    assert.deepEqual([after.level(), after.level('one-value')], ['NONE', 'FULL'])
    assert.equal((await after.register('other', record(C))).id, 3)
  })

  test('deletes softly, then for good, and never gives an id out again', async () => {
    const log = new MemoryLog()
    const registry = await SchemaRegistry.open(log)
    await registry.register('one-value', record(A))
    await registry.register('one-value', record(A, B))
    await assert.rejects(registry.deleteVersion('one-value', 2, true), fails(40407))
    assert.equal(await registry.deleteVersion('one-value', 'latest', false), 2)
    await assert.rejects(registry.deleteVersion('one-value', 2, false), fails(40406))
    assert.deepEqual(
      registry.versions('one-value').map((one) => one.version),
      [1],
    )
    assert.equal(registry.schemaOf(2), record(A, B))
    assert.equal((await registry.register('one-value', record(A, B))).version, 3)
    await assert.rejects(registry.deleteSubject('one-value', true), fails(40405))
    assert.deepEqual(await registry.deleteSubject('one-value', false), [1, 3])
    await assert.rejects(registry.deleteSubject('one-value', false), fails(40404))
    assert.deepEqual([registry.subjects(), registry.subjects(true)], [[], ['one-value']])
    assert.deepEqual(await registry.deleteSubject('one-value', true), [1, 2, 3])
    await assert.rejects(registry.deleteSubject('one-value', true), fails(40401))
    assert.throws(() => registry.schemaOf(2), fails(40403))
    const restarted = await SchemaRegistry.open(log)
    assert.equal((await restarted.register('one-value', record(A, B))).id, 3)
  })

  test('a stream’s schemas are never deleted for good, and must fit a table', async () => {
    const registry = await SchemaRegistry.open(new MemoryLog())
    const { id } = await registry.register('default.telemetry.raw-value', record(A))
    assert.equal(registry.version('default.telemetry-value', 1).id, id)
    assert.equal(registry.version('default.telemetry.normalized-value', 1).id, id)
    assert.throws(
      () => registry.version('default.telemetry.rejected-value', 1),
      fails(40401, /millrace\.rejected-value/),
    )
    await registry.deleteSubject('default.telemetry-value', false)
    await assert.rejects(registry.deleteSubject('default.telemetry-value', true), fails(42205))
    const bad: [string, RegExp][] = [
      ['"string"', /record/],
      [record('{"name":"u","type":["int","string"]}'), /field u:.*union/],
      [record('{"name":"l","type":{"type":"array","items":["null","int","string"]}}'), /field l\[\]:/],
      [record('{"name":"_offset","type":"int"}'), /field _offset:/],
      [record('{"name":"Device_Id","type":"int"}'), /field Device_Id:/],
      [record(A, '{"name":"A","type":"int"}'), /field A:.*case/],
      [record('{"name":"n","type":["null","r"],"default":null}'), /r contains itself/],
    ]
    for (const [schema, pattern] of bad) {
      await assert.rejects(registry.register('default.other-value', schema), fails(42201, pattern), schema)
      assert.ok((await registry.register(`free-${bad.findIndex(([one]) => one === schema)}`, schema)).id > 0)
    }
  })

  test('refuses what breaks the level, naming it', async () => {
    const registry = await SchemaRegistry.open(new MemoryLog())
    await registry.register('one-value', record(A))
    await assert.rejects(
      registry.register('one-value', record(A, C)),
      (error) =>
        isMillraceError(error, 'schema_incompatible') &&
        fails(409, /BACKWARD.*version 1/)(error) &&
        /\bc\b/.test(error.message),
    )
    assert.equal(registry.incompatibilities('one-value', record(A, C), 'latest').length, 1)
    const nested = (type: string): string =>
      record(`{"name":"n","type":{"type":"record","name":"q","fields":[{"name":"z","type":"${type}"}]}}`)
    await registry.register('nested-value', nested('long'))
    assert.deepEqual(registry.incompatibilities('nested-value', nested('int')), [
      {
        direction: 'BACKWARD',
        version: 1,
        field: 'n.z',
        rule: 'TYPE_MISMATCH',
        message: 'field n.z: long cannot be read as int (TYPE_MISMATCH)',
      },
    ])
    await registry.setLevel('FORWARD', 'one-value')
    assert.equal((await registry.register('one-value', record(A, C))).version, 2)
    await assert.rejects(registry.register('one-value', record(C)), fails(409))
    await registry.setLevel('NONE', 'one-value')
    assert.equal((await registry.register('one-value', record(C))).version, 3)
    await assert.rejects(registry.setLevel('SIDEWAYS'), fails(42203, /BACKWARD, BACKWARD_TRANSITIVE/))
    assert.equal(await registry.deleteLevel('one-value'), 'NONE')
    await assert.rejects(registry.deleteLevel('one-value'), fails(40408))
  })

  test('transitive levels look at every version, the others at the latest', async () => {
    // v1 {a}, v2 {a, b with default}; v3 {a, b without default} follows v2 but not v1.
    const without = record(A, '{"name":"b","type":["null","double"]}')
    const outcomes: Record<string, boolean> = {}
    for (const level of COMPATIBILITY_LEVELS) {
      const registry = await SchemaRegistry.open(new MemoryLog())
      await registry.register('s', record(A))
      await registry.register('s', record(A, B))
      await registry.setLevel(level)
      outcomes[level] = registry.incompatibilities('s', without).length === 0
    }
    assert.deepEqual(outcomes, {
      BACKWARD: true,
      BACKWARD_TRANSITIVE: false,
      FORWARD: true,
      FORWARD_TRANSITIVE: true,
      FULL: true,
      FULL_TRANSITIVE: false,
      NONE: true,
    })
  })

  test('several writers on one topic agree, whatever their order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(2), fc.constantFrom('s', 't'), fc.nat(5)), { minLength: 1, maxLength: 20 }),
        async (steps) => {
          const log = new MemoryLog()
          const writers = [
            await SchemaRegistry.open(log),
            await SchemaRegistry.open(log),
            await SchemaRegistry.open(log),
          ]
          await writers[0]!.setLevel('NONE')
          const given = await Promise.all(
            steps.map(([writer, subject, n]) =>
              writers[writer]!.register(subject, record(`{"name":"f${n}","type":"int"}`)),
            ),
          )
          const idOf = new Map<string, number>()
          for (const { schema, id } of given) {
            assert.equal(idOf.get(schema) ?? id, id)
            idOf.set(schema, id)
          }
          assert.equal(new Set(idOf.values()).size, idOf.size)
          for (const writer of writers) await writer.refresh()
          for (const subject of writers[0]!.subjects())
            for (const writer of writers)
              assert.deepEqual(writer.versions(subject), writers[0]!.versions(subject))
        },
      ),
      { numRuns: 50 },
    )
  })

  test('tells listeners of changes, its own and others’, once', async () => {
    const log = new MemoryLog()
    const [own, other] = [await SchemaRegistry.open(log), await SchemaRegistry.open(log)]
    const changes: RegistryChange[] = []
    const stop = own.onChange((change) => changes.push(change))
    await own.register('s', record(A))
    await own.register('s', record(A))
    await other.register('s', record(A, B))
    await own.refresh()
    await own.deleteSubject('s', false)
    stop()
    await own.deleteSubject('s', true)
    assert.deepEqual(
      changes.map(({ what, version, id }) => [what, version, id]),
      [
        ['registered', 1, 1],
        ['registered', 2, 2],
        ['deleted', 1, 1],
        ['deleted', 2, 2],
      ],
    )
  })

  test('reads the log in pieces and keeps Confluent-like keys', async () => {
    const log = new MemoryLog()
    const registry = await SchemaRegistry.open(log)
    for (let i = 0; i < 30; i++) await registry.register(`s${i}`, record(`{"name":"f${i}","type":"int"}`))
    const read = log.read.bind(log)
    log.read = (topic, partition, offset) => read(topic, partition, offset, 1)
    assert.equal((await SchemaRegistry.open(log)).subjects().length, 30)
    const reader = new RecordReader()
    reader.reset((await log.read(SCHEMAS_TOPIC, 0, 0, 1)).batches)
    assert.ok(reader.next())
    assert.equal(
      Buffer.from(reader.bytes.subarray(reader.keyStart, reader.keyEnd)).toString(),
      '{"keytype":"SCHEMA","subject":"s0","version":1,"magic":1}',
    )
  })
})
