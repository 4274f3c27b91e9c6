import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import confluent from '@kafkajs/confluent-schema-registry'
import Fastify, { type FastifyInstance } from 'fastify'
import { MemoryLog } from '../log/log-memory.ts'
import { SchemaRegistry } from '../schemas/registry.ts'
import { schemaRegistryRoutes } from './schema-registry-routes.ts'

const { SchemaRegistry: Client, SchemaType } = confluent

const record = (...fields: object[]) =>
  ({ type: 'record', name: 'reading', namespace: 'test', fields }) as const
const A = { name: 'a', type: 'int' }
const B = { name: 'b', type: ['null', 'double'], default: null }
const C = { name: 'c', type: 'string' }
const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'

describe('Confluent’s API', () => {
  let app: FastifyInstance
  let host = ''

  before(async () => {
    const registry = await SchemaRegistry.open(new MemoryLog())
    app = Fastify()
    await app.register(schemaRegistryRoutes(registry), { prefix: '/schema-registry' })
    host = `${await app.listen({ port: 0, host: '127.0.0.1' })}/schema-registry`
  })
  after(() => app.close())

  async function call(
    method: string,
    path: string,
    body?: unknown,
    type = MEDIA_TYPE,
  ): Promise<[number, unknown]> {
    const response = await fetch(host + path, {
      method,
      ...(body === undefined
        ? {}
        : {
            body: typeof body === 'string' ? body : JSON.stringify(body),
            headers: { 'content-type': type },
          }),
    })
    const text = await response.text()
    assert.match(response.headers.get('content-type')!, /^application\/vnd\.schemaregistry\.v1\+json/)
    return [response.status, JSON.parse(text)]
  }
  const post = (path: string, schema: unknown) => call('POST', path, { schema: JSON.stringify(schema) })
  const refusal = async (expected: number, answer: Promise<[number, unknown]>) => {
    const [status, body] = await answer
    const { error_code, message } = body as { error_code: number; message: string }
    assert.deepEqual([status, error_code], [Number(String(expected).slice(0, 3)), expected], message)
    assert.ok(message.length > 0)
    return message
  }

  test('serves the client of kafkajs: register, evolve, encode, decode, refuse', async () => {
    const client = new Client({ host, retry: { retries: 0 } })
    const first = await client.register(
      { type: SchemaType.AVRO, schema: JSON.stringify(record(A)) },
      { subject: 'acme.press-value' },
    )
    const again = await client.register(
      { type: SchemaType.AVRO, schema: JSON.stringify(record(A)) },
      { subject: 'acme.press-value' },
    )
    assert.equal(again.id, first.id)
    const second = await client.register(
      { type: SchemaType.AVRO, schema: JSON.stringify(record(A, B)) },
      { subject: 'acme.press-value' },
    )
    assert.equal(second.id, first.id + 1)
    assert.equal(await client.getLatestSchemaId('acme.press.raw-value'), second.id)
    assert.equal(await client.getRegistryId('acme.press-value', 1), first.id)
    const bytes = await client.encode(second.id, { a: 1, b: 2.5 })
    assert.deepEqual({ ...(await new Client({ host }).decode(bytes)) }, { a: 1, b: 2.5 })
    await assert.rejects(
      client.register(
        { type: SchemaType.AVRO, schema: JSON.stringify(record(A, C)) },
        { subject: 'acme.press-value' },
      ),
      (error: { status?: number; message: string }) => error.status === 409 && /\bc\b/.test(error.message),
    )
  })

  test('subjects, versions and ids', async () => {
    const [, { id }] = (await post('/subjects/plain-value/versions', record(A))) as [number, { id: number }]
    assert.deepEqual(await call('GET', '/subjects/plain-value/versions'), [200, [1]])
    const entry = { subject: 'plain-value', version: 1, id, schema: JSON.stringify(record(A)) }
    assert.deepEqual(await call('GET', '/subjects/plain-value/versions/latest'), [200, entry])
    assert.deepEqual(await call('GET', '/subjects/plain-value/versions/-1'), [200, entry])
    assert.deepEqual(await call('GET', '/subjects/plain-value/versions/1/schema'), [200, record(A)])
    assert.deepEqual(await post('/subjects/plain-value', record(A)), [200, entry])
    assert.deepEqual(await call('GET', `/schemas/ids/${id}`), [200, { schema: entry.schema }])
    assert.deepEqual(await call('GET', `/schemas/ids/${id}/schema`), [200, record(A)])
    const [, uses] = await call('GET', `/schemas/ids/${id}/versions`)
    assert.ok(
      (uses as object[]).some((use) => JSON.stringify(use) === '{"subject":"plain-value","version":1}'),
    )
    const [, subjects] = await call('GET', `/schemas/ids/${id}/subjects`)
    assert.ok((subjects as string[]).includes('plain-value'))
    assert.deepEqual(await call('GET', '/subjects?subjectPrefix=plain'), [200, ['plain-value']])
    assert.deepEqual(await call('GET', '/schemas/types'), [200, ['AVRO']])
    assert.deepEqual(await call('GET', '/mode'), [200, { mode: 'READWRITE' }])
    await refusal(42205, call('PUT', '/mode', { mode: 'READONLY' }))
    assert.deepEqual(await call('GET', '/schemas?subjectPrefix=plain'), [200, [entry]])
    assert.deepEqual(await call('GET', '/schemas?subjectPrefix=plain&latestOnly=true'), [200, [entry]])
  })

  test('compatibility and its levels', async () => {
    await post('/subjects/level-value/versions', record(A))
    const at = '/compatibility/subjects/level-value/versions'
    assert.deepEqual(await post(`${at}/latest`, record(A, B)), [200, { is_compatible: true }])
    assert.deepEqual(await post(`${at}/1`, record(A, C)), [200, { is_compatible: false }])
    const [, verbose] = await post(`${at}?verbose=true`, record(A, C))
    assert.match((verbose as { messages: string[] }).messages[0]!, /BACKWARD with version 1: .*\bc\b/)
    assert.deepEqual(await call('GET', '/config'), [200, { compatibilityLevel: 'BACKWARD' }])
    await refusal(40408, call('GET', '/config/level-value'))
    assert.deepEqual(await call('GET', '/config/level-value?defaultToGlobal=true'), [
      200,
      { compatibilityLevel: 'BACKWARD' },
    ])
    const none = { compatibility: 'NONE' }
    assert.deepEqual(await call('PUT', '/config/level-value', none), [200, none])
    assert.deepEqual(await call('GET', '/config/level-value'), [200, { compatibilityLevel: 'NONE' }])
    assert.deepEqual(await post(`${at}/latest`, record(A, C)), [200, { is_compatible: true }])
    assert.deepEqual(await call('DELETE', '/config/level-value'), [200, none])
    await refusal(40408, call('DELETE', '/config/level-value'))
    const full = { compatibility: 'FULL' }
    assert.deepEqual(await call('PUT', '/config', full, 'application/json'), [200, full])
    assert.deepEqual(await call('DELETE', '/config'), [200, full])
  })

  test('deletes', async () => {
    await post('/subjects/gone-value/versions', record(A))
    await post('/subjects/gone-value/versions', record(A, B))
    await refusal(40407, call('DELETE', '/subjects/gone-value/versions/1?permanent=true'))
    assert.deepEqual(await call('DELETE', '/subjects/gone-value/versions/1'), [200, 1])
    await refusal(40406, call('DELETE', '/subjects/gone-value/versions/1'))
    assert.deepEqual(await call('GET', '/subjects/gone-value/versions'), [200, [2]])
    assert.deepEqual(await call('GET', '/subjects/gone-value/versions?deleted=true'), [200, [1, 2]])
    assert.deepEqual(await call('DELETE', '/subjects/gone-value'), [200, [2]])
    await refusal(40401, call('GET', '/subjects/gone-value/versions'))
    assert.deepEqual(await call('DELETE', '/subjects/gone-value?permanent=true'), [200, [1, 2]])
    await refusal(
      42205,
      (async () => {
        await post('/subjects/acme.gone-value/versions', record(A))
        await call('DELETE', '/subjects/acme.gone-value')
        return call('DELETE', '/subjects/acme.gone-value?permanent=true')
      })(),
    )
  })

  test('refusals carry Confluent’s codes', async () => {
    await post('/subjects/codes-value/versions', record(A))
    await refusal(40401, call('GET', '/subjects/nothing-value/versions/1'))
    await refusal(40402, call('GET', '/subjects/codes-value/versions/7'))
    await refusal(40403, call('GET', '/schemas/ids/99999'))
    await refusal(40403, post('/subjects/codes-value', record(C)))
    await refusal(42202, call('GET', '/subjects/codes-value/versions/0'))
    await refusal(42203, call('PUT', '/config', { compatibility: 'UPWARD' }))
    await refusal(42201, post('/subjects/codes-value/versions', { type: 'what' }))
    await refusal(42201, call('POST', '/subjects/codes-value/versions', { schema: '{' }))
    await refusal(42201, call('POST', '/subjects/codes-value/versions', {}))
    const refused = { schema: '"int"', references: [{ name: 'x', subject: 'y', version: 1 }] }
    assert.match(
      await refusal(42201, call('POST', '/subjects/codes-value/versions', refused)),
      /references are not supported/,
    )
    await refusal(
      422,
      call('POST', '/subjects/codes-value/versions', { schema: '{}', schemaType: 'PROTOBUF' }),
    )
    await refusal(422, call('POST', '/subjects/codes-value/versions', '{"schema'))
    assert.match(await refusal(409, post('/subjects/codes-value/versions', record(A, C))), /\bc\b/)
    const union = record({ name: 'u', type: ['int', 'string'] })
    assert.match(await refusal(42201, post('/subjects/acme.other-value/versions', union)), /field u:/)
    await refusal(404, call('GET', '/nowhere'))
  })
})
