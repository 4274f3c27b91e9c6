// Case: PUBLISH packets in memory: scan, validate, encode into RecordBatches with CRC
//
// The hot path of ingest alone: reads of 64 KiB full of PUBLISH packets → parsed, each payload validated
// against the environment contract, copied into RecordBatches of its partition, sealed with CRC. No socket, no
// disk: what one core can do with the bytes once it has them.
//
// The peer does the same work with what npm offers: mqtt-packet, avsc (decoding is how it validates), and a
// Kafka record for each message.
import avsc from 'avsc'
import mqttPacket, { type IPublishPacket } from 'mqtt-packet'
import type { BatchAccumulator } from '../ingest/batch-accumulator.ts'
import type { AppendRequest, AppendResult } from '../log/log.ts'
import {
  batchCrcMatches,
  RecordBatchBuilder,
  RecordReader,
  readBatchHeader,
  writeBatchCrc,
} from '../log/record-batch.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { crc32c } from '../std/hash.ts'
import { environmentStream } from './environment-stream.ts'
import {
  addTo,
  caseArguments,
  packageVersion,
  peer,
  Random,
  type Run,
  report,
  rounds,
  summarise,
  timed,
} from './harness.ts'
import { PAYLOAD_BYTES_MAX, Sensor } from './payloads.ts'
import { admissionTo, StandInSession } from './stand-in-session.ts'

const SCHEMA_ID = 7
const READ_BYTES = 64 << 10
const READS = 64
const CONNECTIONS = 8
const RECEIVE_TIME_MS = 1_700_000_000_000

/** Reads as the kernel would fill them: one connection each, PUBLISH packets of QoS 0 cut where the buffer ends. */
interface Input {
  reads: Uint8Array[]
  /** Whole packets in all reads. */
  messages: number
  /** Sum of the CRCs of all payloads, modulo 2^32: order does not matter to it. */
  payloadHash: number
}

function makeInput(seed: number): Input {
  const random = new Random(seed)
  const streams = Array.from({ length: CONNECTIONS }, (_, i) => makeStream(i, random))
  // Each connection's first packet begins a read; its last one in the round is whole, so rounds can repeat.
  const reads: Uint8Array[] = []
  for (let at = 0; at < READ_BYTES * (READS / CONNECTIONS); at += READ_BYTES)
    for (const { bytes } of streams) if (at < bytes.length) reads.push(bytes.slice(at, at + READ_BYTES))
  let hash = 0
  let messages = 0
  for (const stream of streams) {
    hash = (hash + stream.hash) >>> 0
    messages += stream.messages
  }
  return { reads, messages, payloadHash: hash }
}

function makeStream(index: number, random: Random): { bytes: Uint8Array; messages: number; hash: number } {
  const topic = new TextEncoder().encode(`devices/sensor-${index}/telemetry`)
  const sensor = new Sensor(random, RECEIVE_TIME_MS, false)
  const bytes = new Uint8Array((READ_BYTES * READS) / CONNECTIONS)
  let at = 0
  let messages = 0
  let hash = 0
  while (at + topic.length + PAYLOAD_BYTES_MAX + 4 < bytes.length) {
    const payload = at + 4 + topic.length
    const end = sensor.writeAvro(bytes, payload, SCHEMA_ID)
    bytes[at] = 0x30
    bytes[at + 1] = end - at - 2
    bytes[at + 2] = topic.length >>> 8
    bytes[at + 3] = topic.length
    bytes.set(topic, at + 4)
    hash = (hash + crc32c(bytes.subarray(payload, end))) >>> 0
    at = end
    messages++
  }
  return { bytes: bytes.subarray(0, at), messages, hash }
}

/** Takes batches and forgets them; checks them first where it is told to. */
class Sink {
  records = 0
  payloadHash = 0
  check = false

  append(request: AppendRequest): Promise<AppendResult> {
    for (const entry of request.entries) {
      this.records += entry.recordCount
      // The log's part of encoding: one pass for the CRC.
      if ('batch' in entry && entry.isCrcPending) writeBatchCrc(entry.batch, 0, entry.batch.length)
      if (this.check && 'batch' in entry) this.#verify(entry.batch)
    }
    return Promise.resolve({ baseOffsets: [] })
  }

  #verify(batch: Uint8Array): void {
    const header = readBatchHeader(batch)
    if (header === undefined || !batchCrcMatches(batch, 0, header.byteLength))
      throw new Error('batch is not valid')
    const reader = new RecordReader()
    reader.reset(batch)
    while (reader.next())
      this.payloadHash = (this.payloadHash + crc32c(batch.subarray(reader.valueStart, reader.valueEnd))) >>> 0
  }
}

class OurPath {
  readonly sink = new Sink()
  readonly accumulator: BatchAccumulator
  readonly connections: StandInSession[]
  readonly #input: Input

  constructor(stream: StreamDescriptor, input: Input) {
    this.#input = input
    const path = admissionTo(stream, (request) => this.sink.append(request))
    this.accumulator = path.accumulator
    this.connections = Array.from({ length: CONNECTIONS }, () => new StandInSession(path, READ_BYTES))
  }

  /** All reads once; after each turn of all connections a flush, which the sink takes at once. */
  async round(): Promise<number> {
    const { reads } = this.#input
    for (let i = 0; i < reads.length; i++) {
      const bytes = reads[i]!
      this.connections[i % CONNECTIONS]!.parser.parse(bytes, 0, bytes.length)
      if (i % CONNECTIONS === CONNECTIONS - 1) await this.accumulator.drained()
    }
    return this.#input.messages
  }
}

class PeerPath {
  readonly #type: avsc.Type
  readonly #input: Input
  records = 0
  bytes = 0

  constructor(stream: StreamDescriptor, input: Input) {
    this.#type = avsc.Type.forSchema(JSON.parse(stream.schema))
    this.#input = input
  }

  round(): number {
    const parsers = Array.from({ length: CONNECTIONS }, () => mqttPacket.parser({ protocolVersion: 4 }))
    let batch = new RecordBatchBuilder(1 << 20)
    for (const parser of parsers)
      parser.on('packet', (packet) => {
        const { topic, payload } = packet as IPublishPacket
        const value = payload as Buffer
        this.#type.fromBuffer(value.subarray(5))
        batch.append(RECEIVE_TIME_MS, Buffer.from(topic.split('/')[1]!), value)
        if (batch.byteLength > 900_000) {
          this.bytes += batch.finish().length
          batch = new RecordBatchBuilder(1 << 20)
        }
        this.records++
      })
    const { reads } = this.#input
    for (let i = 0; i < reads.length; i++)
      parsers[i % CONNECTIONS]!.parse(Buffer.from(reads[i]!.buffer, reads[i]!.byteOffset, reads[i]!.length))
    this.bytes += batch.finish().length
    return this.#input.messages
  }
}

async function main(): Promise<void> {
  const args = caseArguments(1)
  const stream = environmentStream(SCHEMA_ID)
  const input = makeInput(args.seed)

  // Once with everything looked at, which warms up too.
  const ours = new OurPath(stream, input)
  ours.sink.check = true
  await ours.round()
  if (ours.sink.records !== input.messages || ours.sink.payloadHash !== input.payloadHash)
    throw new Error(`${ours.sink.records} of ${input.messages} records, hash ${ours.sink.payloadHash}`)
  ours.sink.check = false

  const peerPath = new PeerPath(stream, input)
  const ourRuns = []
  const peerRuns: Run[] = []
  for (const run of rounds(args.runs + 1, 'runs', 2)) {
    const mine = await timedAsync(args.seconds, () => ours.round())
    const theirs = args.noPeers ? undefined : timed(args.seconds / 2, () => peerPath.round())
    // The first run of each warms up.
    if (run === 0 && !args.smoke) continue
    ourRuns.push(mine)
    if (theirs !== undefined) peerRuns.push(theirs)
  }
  const peerVersion = ['mqtt-packet', 'avsc'].map(packageVersion).join('+')
  const expected = ours.connections.reduce((sum, connection) => sum + connection.accepted, 0)
  if (ours.sink.records !== expected) throw new Error(`${ours.sink.records} records of ${expected} accepted`)
  const peerExpected = (peerPath.records / input.messages) | 0
  if (peerPath.records !== peerExpected * input.messages || peerExpected < peerRuns.length)
    throw new Error(`the peer made ${peerPath.records} records`)
  const summary = summarise(ourRuns)
  report(
    'hot-path',
    args,
    'msg/s',
    summary,
    `${input.messages} payloads by hash and batch CRC, ${expected} records by count`,
    args.noPeers ? [] : [peer('mqtt-packet+avsc', peerVersion, summarise(peerRuns), summary)],
  )
}

async function timedAsync(seconds: number, round: () => Promise<number>): Promise<Run> {
  const run: Run = { messages: 0, seconds: 0, cpuSeconds: 0 }
  const until = performance.now() + seconds * 1000
  await addTo(run, 0, async () => {
    while (performance.now() < until) run.messages += await round()
  })
  return run
}

await main()
