// Apicurio's registry (Confluent's API) as the external registry, from Maven Central by test/interop/setup; and
// @kafkajs/confluent-schema-registry, which nobody here wrote, reading what Millrace has registered there.
import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry'
import { externalRegistrySuite } from '../external-registry.ts'
import { temporaryFolder } from '../millrace-process.ts'
import { startApicurio } from './servers.ts'

test('Apicurio gives the ids, judges, and may be away', async (t) => {
  const server = await startApicurio(t)
  const url = `${server.url}/apis/ccompat/v7`
  await externalRegistrySuite(t, path.join(temporaryFolder(t)), {
    url,
    isEmpty: true,
    stop: async () => {
      // An independent client finds the schema by the id that records carry.
      const client = new SchemaRegistry({ host: url })
      const id = await client.getLatestSchemaId('default.telemetry-value')
      const schema = (await client.getSchema(id)) as { name?: string }
      assert.match(String(schema.name), /telemetry/)
      await server.stop()
    },
  })
})
