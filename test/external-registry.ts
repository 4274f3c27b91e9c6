// What any registry with Confluent's API must be good for when Millrace uses it: the same steps run against Apicurio
// (test/interop) and against another Millrace's own (make test).
import assert from 'node:assert/strict'
import path from 'node:path'
import avsc from 'avsc'
import mqtt from 'mqtt'
import { environmentCodec, reading } from './environment.ts'
import { account, type MillraceProcess, startProcess, until } from './millrace-process.ts'

export interface ExternalServer {
  /** Of the API. */
  url: string
  stop(): Promise<void>
  /** Undefined: what it knew is gone with it. */
  startAgain?: () => Promise<void>
  args?: string[]
  /** It knew nothing before. */
  isEmpty?: boolean
}

const SUBJECT = 'default.telemetry-value'
const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'

async function post(
  url: string,
  schema: unknown,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': MEDIA_TYPE },
    body: JSON.stringify({ schema: JSON.stringify(schema) }),
  })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

interface Avro {
  type: string
  name: string
  fields: { name: string; type: unknown; default?: unknown }[]
}

const streamOf = async (http: string): Promise<{ schemaId: number; writers: number[] }> =>
  (await (await fetch(`${http}/v1/streams/default/telemetry`)).json()) as never

export const contractOf = (family: string, type: string, version = 1): string => `millrace: 1
family: ${family}
version: ${version}
tenant: default
streams:
  ${family}:
    fields:
      - { name: event_time, type: timestamp-micros, role: event_time }
      - { name: value, type: ${type} }
`

export const registerContract = async (
  http: string,
  contract: string,
): Promise<{ status: number; text: string }> => {
  const answer = await fetch(`${http}/v1/contracts`, {
    method: 'POST',
    headers: { 'content-type': 'application/yaml' },
    body: contract,
  })
  return { status: answer.status, text: await answer.text() }
}

export async function externalRegistrySuite(
  t: { after(callback: () => unknown): void },
  folder: string,
  server: ExternalServer,
): Promise<void> {
  // Ids are given to others first.
  for (let i = 0; i < 3; i++)
    assert.equal(
      (await post(`${server.url}/subjects/other-${i}/versions`, { type: 'fixed', name: 'f', size: i + 1 }))
        .status,
      200,
    )
  const data = path.join(folder, 'data')
  const args = ['--schema-registry', server.url, ...(server.args ?? [])]
  const start = (...more: string[]): Promise<MillraceProcess> => startProcess(data, [...args, ...more])
  let millrace = await start()
  t.after(() => millrace.kill())

  // The ids are the registry's.
  const found = (await (await fetch(`${server.url}/subjects/${SUBJECT}/versions/latest`)).json()) as {
    id: number
    version: number
    schema: string
  }
  if (server.isEmpty) assert.ok(found.id > 3, `id ${found.id}`)
  assert.equal((await streamOf(millrace.http)).schemaId, found.id)
  const codec = await environmentCodec(millrace.http)
  assert.equal(codec.schemaId, found.id)
  const publish = async (payload: Buffer): Promise<void> => {
    const device = await mqtt.connectAsync(millrace.url, { clientId: 'dut', protocolVersion: 5 })
    try {
      await device.publishAsync('devices/dut/telemetry', payload, { qos: 1 })
    } finally {
      await device.endAsync()
    }
  }
  await publish(codec.encode(reading(1)))

  // A version that somebody registers there may be written by devices soon after.
  const avro = JSON.parse(found.schema) as Avro
  avro.fields.push({ name: 'co2', type: ['null', 'double'], default: null })
  const added = await post(`${server.url}/subjects/${SUBJECT}/versions`, avro)
  assert.equal(added.status, 200, JSON.stringify(added.body))
  const id = Number(added.body['id'])
  await until('the version is taken over', async () =>
    (await streamOf(millrace.http)).writers.includes(id) ? true : undefined,
  )
  const type = avsc.Type.forSchema(avro as avsc.Schema, { wrapUnions: false, logicalTypes: {} })
  const frame = Buffer.alloc(5)
  frame.writeInt32BE(id, 1)
  const newer = Buffer.concat([frame, type.toBuffer({ ...reading(2), co2: 412.5 })])
  // The workers hear of it a moment later.
  await until('a device writes by it', () =>
    publish(newer).then(
      () => true,
      () => undefined,
    ),
  )
  frame.writeInt32BE(id + 1000, 1)
  await assert.rejects(publish(Buffer.concat([frame, type.toBuffer({ ...reading(3), co2: 1 })])))

  // Compatibility is asked of it.
  assert.equal((await registerContract(millrace.http, contractOf('pump', 'long'))).status, 201)
  const other = await fetch(`${server.url}/config/default.pump-value`, {
    method: 'PUT',
    headers: { 'content-type': MEDIA_TYPE },
    body: '{"compatibility":"FULL"}',
  })
  assert.equal(other.status, 200)
  const refused = await registerContract(millrace.http, contractOf('pump', 'string', 2))
  assert.ok(refused.status >= 400 && refused.status < 500, refused.text)
  assert.match(refused.text, /incompatible/i)
  assert.match(refused.text, new RegExp(new URL(server.url).port))

  // It goes away: what is known goes on, also after a restart; what is new is refused, or waits.
  await server.stop()
  await publish(codec.encode(reading(4)))
  await millrace.kill()
  millrace = await start('--schema-registry-unknown', 'refuse')
  await publish(codec.encode(reading(5)))
  const unknown = await registerContract(millrace.http, contractOf('fan', 'long'))
  assert.ok(unknown.status >= 500, unknown.text)
  assert.match(unknown.text, /registry_unreachable/)
  await until('it says so', async () => (/known schemas go on/.test(millrace.output()) ? true : undefined))
  if (server.startAgain !== undefined) {
    await millrace.kill()
    millrace = await start('--schema-registry-unknown', 'wait')
    const waiting = registerContract(millrace.http, contractOf('fan', 'long'))
    await until('it says that it waits', async () => (/waits: /.test(millrace.output()) ? true : undefined))
    await server.startAgain()
    assert.equal((await waiting).status, 201)
    assert.equal((await fetch(`${server.url}/subjects/default.fan-value/versions/latest`)).status, 200)
  }
  await until('all rows', async () => ((await account(millrace.http))['rows'] === 4 ? true : undefined))
}
