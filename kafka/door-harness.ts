// A Kafka door in the test's own thread, over the log in memory, with one small stream in each of two tenants.
import net from 'node:net'
import type { TestContext } from 'node:test'
import avsc from 'avsc'
import type { Principal } from '../identity/identity.ts'
import type { Log, TopicConfig } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { partitionOfKey } from '../std/hash.ts'
import type { Caller } from './caller.ts'
import { KafkaDoor } from './door.ts'
import { APIS, type ApiName, type RequestOf, type ResponseOf } from './messages.ts'
import { WireReader, type WireType, WireWriter } from './wire.ts'

const SCHEMA_ID = 7
const SCHEMA = JSON.stringify({
  type: 'record',
  name: 'Reading',
  fields: [
    { name: 'seq', type: 'long' },
    { name: 'note', type: 'string' },
  ],
})
const type = avsc.Type.forSchema(JSON.parse(SCHEMA))

export const PARTITIONS = 4
const TOPIC: TopicConfig = {
  partitions: PARTITIONS,
  cleanup: 'delete',
  retentionAgeMs: Number.POSITIVE_INFINITY,
  retentionBytes: Number.POSITIVE_INFINITY,
  backlogBytesMax: Number.POSITIVE_INFINITY,
}
export const RAW = rawTopic('default', 'telemetry')

/** A payload that fits, in Avro with the Confluent frame. */
export const payloadOf = (seq: number): Buffer =>
  Buffer.concat([Buffer.from([0, 0, 0, 0, SCHEMA_ID]), type.toBuffer({ seq, note: 'n' })])

export const streamOf = (tenant: string): StreamDescriptor => ({
  tenant,
  stream: 'telemetry',
  family: 'sensor',
  contractVersion: 1,
  partitions: PARTITIONS,
  subject: `${tenant}.telemetry-value`,
  schemaId: SCHEMA_ID,
  schema: SCHEMA,
  writers: [{ id: SCHEMA_ID, schema: SCHEMA }],
  fields: [],
  ruleSets: [],
  plausible: { pastMs: 1e12, futureMs: 1e9 },
  table: {},
})

/** Who asks, where a handler is asked without a connection. */
export const callerOf = (tenant: string, subscribe: string[] | undefined = ['#']): Caller => ({
  principal: {
    tenant,
    kind: 'gateway',
    id: 'reader',
    family: '',
    credentialId: '',
    ownershipEpoch: 0,
    devices: ['*'],
    publish: undefined,
    subscribe,
  } satisfies Principal,
  clientId: 'c',
  clientHost: '/127.0.0.1',
  host: '127.0.0.1',
  port: 1,
  closed: new AbortController().signal,
  whenSent: () => {},
})

interface DoorHarness {
  door: KafkaDoor
  log: Log
  failures: unknown[]
  warnings: string[]
}

export async function openDoor(
  t: { after(callback: () => unknown): void },
  log: Log = new MemoryLog(),
  allowAnonymous = true,
): Promise<DoorHarness> {
  const streams = [streamOf('default'), streamOf('other')]
  for (const { tenant, stream } of streams)
    for (const name of [rawTopic, normalizedTopic, rejectedTopic])
      await log.createTopic(name(tenant, stream), TOPIC)
  const failures: unknown[] = []
  const warnings: string[] = []
  const door = await KafkaDoor.open({
    log,
    streams,
    address: { host: '127.0.0.1', port: 0 },
    advertised: undefined,
    allowAnonymous,
    onFailure: (error) => failures.push(error),
    onWarning: (message) => warnings.push(message),
  })
  t.after(async () => {
    await door.close()
    await log.close()
  })
  return { door, log, failures, warnings }
}

export const partitionOf = (device: string): number => {
  const key = Buffer.from(device)
  return partitionOfKey(key, 0, key.length, PARTITIONS)
}

/** A sealed batch of one record for each value. */
export function batchOf(device: string, values: readonly Uint8Array[], timestamp = Date.now()): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append(timestamp, Buffer.from(device), value)
  return builder.finish()
}

/** A connection that asks with the door's own descriptions of requests, of flexible versions. */
export interface Client {
  socket: net.Socket
  call<Name extends ApiName>(name: Name, version: number, request: RequestOf<Name>): Promise<ResponseOf<Name>>
}

export async function connect(t: TestContext, port: number): Promise<Client> {
  const socket = net.connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  await new Promise((resolve) => socket.once('connect', resolve))
  let received: Buffer = Buffer.alloc(0)
  const waiting: ((answer: Buffer) => void)[] = []
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    while (received.length >= 4 && received.length >= 4 + received.readInt32BE()) {
      const end = 4 + received.readInt32BE()
      waiting.shift()?.(received.subarray(4, end))
      received = received.subarray(end)
    }
  })
  return {
    socket,
    call: async <Name extends ApiName>(name: Name, version: number, request: RequestOf<Name>) => {
      const answer = new Promise<Buffer>((resolve) => waiting.push(resolve))
      socket.write(frameOf(name, version, request))
      const from = new WireReader(await answer)
      from.int32()
      from.taggedFields()
      return (APIS[name].response as WireType<unknown>).read(from, version, true) as ResponseOf<Name>
    },
  }
}

/** A whole request. */
export function frameOf(name: ApiName, version: number, request: unknown): Buffer {
  const to = new WireWriter()
  to.int16(APIS[name].key)
  to.int16(version)
  to.int32(1)
  to.int16(-1)
  to.unsignedVarint(0)
  ;(APIS[name].request as WireType<unknown>).write(to, request, version, true)
  const { chunks, length } = to.finish()
  const size = Buffer.alloc(4)
  size.writeInt32BE(length)
  return Buffer.concat([size, ...chunks])
}
