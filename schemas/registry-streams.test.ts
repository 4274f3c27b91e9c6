import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../log/log-memory.ts'
import { isMillraceError } from '../std/errors.ts'
import { compileContract, type PlacedStream, parseContract } from './contract.ts'
import { SchemaRegistry } from './registry.ts'
import { describeStream, registerStreams } from './registry-streams.ts'

/** Streams `flow` and `heat` with the given extra fields. */
function streams(version: number, flow: string, heat: string): PlacedStream[] {
  const text = `
millrace: 1
family: pump
version: ${version}
tenant: acme
streams:
  flow:
    fields: [{ name: litres, type: double }${flow}]
  heat:
    fields: [{ name: degrees, type: double }${heat}]
`
  return compileContract(parseContract(text, 'pump.yaml')).map((stream) => ({ ...stream, partitions: 4 }))
}

test('streams get ids and every version as writer, also after a restart and a soft delete', async () => {
  const log = new MemoryLog()
  const registry = await SchemaRegistry.open(log)
  const [first] = await registerStreams(registry, streams(1, '', ''))
  assert.deepEqual(first!.writers, [{ id: first!.schemaId, schema: first!.schema }])
  const evolved = streams(2, ', { name: bar, type: double, nullable: true }', '')
  const [second, heat] = await registerStreams(registry, evolved)
  assert.deepEqual(
    second!.writers.map(({ id }) => id),
    [first!.schemaId, second!.schemaId],
  )
  assert.equal(heat!.writers.length, 1)
  await registry.deleteVersion('acme.flow-value', 1, false)
  const [again] = await registerStreams(await SchemaRegistry.open(log), evolved)
  assert.deepEqual(again, second)
})

test('a version that a tool registers becomes a writer of the stream', async () => {
  const registry = await SchemaRegistry.open(new MemoryLog())
  const [flow] = streams(1, '', '')
  const [descriptor] = await registerStreams(registry, [flow!])
  const wider = JSON.parse(descriptor!.schema) as { fields: object[] }
  wider.fields.push({ name: 'bar', type: ['null', 'double'], default: null })
  const { id } = await registry.register('acme.flow.raw-value', JSON.stringify(wider))
  const now = describeStream(registry, flow!)
  assert.equal(now.schemaId, descriptor!.schemaId)
  assert.deepEqual(
    now.writers.map((writer) => writer.id),
    [descriptor!.schemaId, id],
  )
})

test('one incompatible stream leaves nothing of its contract behind', async () => {
  const registry = await SchemaRegistry.open(new MemoryLog())
  await registerStreams(registry, streams(1, '', ''))
  const change = streams(
    2,
    ', { name: bar, type: double, nullable: true }',
    ', { name: watts, type: double }',
  )
  await assert.rejects(
    registerStreams(registry, change),
    (error) =>
      isMillraceError(error, 'schema_incompatible') && /acme\.heat-value.*watts/s.test(error.message),
  )
  assert.equal(registry.versions('acme.flow-value').length, 1)
})
