// What the cases of normalize share: the stage on a log, the embedded one where nothing else is said, from raw batches
// that lie there to normalized ones that are durable, with duplicates, lateness, positions and snapshots. The process
// runs on one core, the log's thread too.
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log, TopicConfig } from '../log/log.ts'
import { connectLog } from '../log/log-client.ts'
import { startLogThread } from '../log/log-service.ts'
import { RecordBatchBuilder, readBatchHeader } from '../log/record-batch.ts'
import { NORMALIZE_COUNTERS, type NormalizeCounter } from '../normalize/counters.ts'
import { NormalizeStage } from '../normalize/run.ts'
import { normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import { CounterBlock } from '../std/counters.ts'
import { environmentStream } from './environment-stream.ts'
import {
  addTo,
  type CaseArguments,
  caseResult,
  Random,
  type Run,
  round,
  rounds,
  summarise,
} from './harness.ts'
import { PAYLOAD_BYTES_MAX, Sensor } from './payloads.ts'
import { pinSelf, removeFolder, temporaryFolder } from './processes.ts'
import type { CaseResult } from './result.ts'

const SCHEMA_ID = 2
const REJECTED_SCHEMA_ID = 1
const DEVICES = 1000
const BATCH_RECORDS = 1000
const CHUNK_RECORDS = 400_000
const CHUNK_RECORDS_SMOKE = 20_000
const SETTLE_MS = 200
const MARKERS_MS_MAX = 10_000
const MARKERS_POLL_MS = 20
const READ_BYTES = 4 * 1024 * 1024
const START_MS = 1_760_000_000_000
const TOPIC: TopicConfig = {
  partitions: 4,
  cleanup: 'delete',
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
}

export interface NormalizeCase {
  name: string
  /** Decides which rules of the environment contract apply. */
  firmware: string
  /** The counter that every record must be in. */
  counted: 'records_passed' | 'records_rewritten'
}

/** Where the stage has its topics. */
export interface NormalizePlace {
  log: Log
  /** Whether the log takes references. */
  references: boolean
  /** Records of a backlog; default 400,000. */
  chunkRecords?: number
  /** CPU seconds since the last call of a broker that works for the stage. */
  brokerCpu?: () => number
  close(): Promise<void>
}

async function embedded(): Promise<NormalizePlace> {
  const folder = temporaryFolder()
  const thread = await startLogThread({ dir: path.join(folder, 'log') })
  const log = await connectLog(thread.newPort())
  const close = async (): Promise<void> => {
    await log.close()
    await thread.close()
    removeFolder(folder)
  }
  return { log, references: true, close }
}

/** A fleet that sends on: each chunk is new messages of the same devices. */
export class Fleet {
  readonly #sensors: { key: Uint8Array; sensor: Sensor }[]
  readonly #payload = new Uint8Array(PAYLOAD_BYTES_MAX)
  readonly #partitions: number
  readonly #schemaId: number
  readonly #startMs: number
  #next = 0

  constructor(
    seed: number,
    firmware: string,
    partitions = TOPIC.partitions,
    schemaId = SCHEMA_ID,
    startMs = START_MS,
  ) {
    this.#partitions = partitions
    this.#schemaId = schemaId
    this.#startMs = startMs
    const random = new Random(seed)
    this.#sensors = Array.from({ length: DEVICES }, (_, i) => ({
      key: new TextEncoder().encode(`sensor-${String(i).padStart(6, '0')}`),
      sensor: new Sensor(random, startMs, false, 1, firmware),
    }))
  }

  /** Device i is in partition i modulo their number, its messages in order. */
  async send(log: Log, topic: string, records: number): Promise<void> {
    const builders = Array.from({ length: this.#partitions }, () => new RecordBatchBuilder(1 << 17))
    const appends: Promise<unknown>[] = []
    const flush = (partition: number): void => {
      const builder = builders[partition]!
      const recordCount = builder.recordCount
      if (recordCount === 0) return
      appends.push(log.append({ entries: [{ topic, partition, batch: builder.finish(), recordCount }] }))
      builders[partition] = new RecordBatchBuilder(1 << 17)
    }
    for (let i = 0; i < records; i++, this.#next++) {
      const device = this.#next % DEVICES
      const { key, sensor } = this.#sensors[device]!
      const end = sensor.writeAvro(this.#payload, 0, this.#schemaId)
      const partition = device % this.#partitions
      // Received about when it was measured.
      const receivedMs = this.#startMs + Math.floor(this.#next / DEVICES) * 1025
      builders[partition]!.append(receivedMs, key, this.#payload.subarray(0, end))
      if (builders[partition]!.recordCount === BATCH_RECORDS) flush(partition)
    }
    for (let partition = 0; partition < this.#partitions; partition++) flush(partition)
    await Promise.all(appends)
  }
}

export async function runNormalizeCase(
  definition: NormalizeCase,
  args: CaseArguments,
  open: () => Promise<NormalizePlace> = embedded,
): Promise<CaseResult> {
  const pinned = pinSelf()
  const { log, references, chunkRecords = CHUNK_RECORDS, brokerCpu, close } = await open()
  const stream = environmentStream(SCHEMA_ID)
  const topics = [rawTopic, normalizedTopic, rejectedTopic].map((name) => name(stream.tenant, stream.stream))
  const [raw, normalized, rejected] = topics as [string, string, string]
  for (const topic of topics) await log.createTopic(topic, TOPIC)
  const counters = new CounterBlock<NormalizeCounter>(NORMALIZE_COUNTERS)
  const stage = new NormalizeStage({
    log,
    streams: [stream],
    rejectedSchemaId: REJECTED_SCHEMA_ID,
    counters,
    references,
    onStreamError: (_, error) => {
      throw error
    },
  })
  await stage.start()
  const fleet = new Fleet(args.seed, definition.firmware)
  const chunk = args.smoke ? CHUNK_RECORDS_SMOKE : chunkRecords
  let sent = 0
  let brokerSeconds = 0
  const runs: Run[] = []
  for (const i of rounds(args.runs + 1, 'runs', 2)) {
    const run: Run = { messages: 0, seconds: 0, cpuSeconds: 0 }
    while (run.seconds < args.seconds) {
      await fleet.send(log, raw, chunk)
      sent += chunk
      // The journal fills its next segment with zeros: that is not this case's work.
      await sleep(args.smoke ? 0 : SETTLE_MS)
      brokerCpu?.()
      await addTo(run, chunk, async () => {
        while (counters.get('records_in') < sent) await stage.step(1)
        await stage.settle()
      })
      if (i > 0 || args.smoke) brokerSeconds += brokerCpu?.() ?? 0
    }
    // The first run warms up.
    if (i > 0 || args.smoke) runs.push(run)
    if (args.smoke) break
  }
  const figures = {
    raw: await countRecords(log, raw),
    normalized: await countUntil(log, normalized, sent),
    rejected: await countRecords(log, rejected),
    duplicates: counters.get('duplicates'),
    counted: counters.get(definition.counted),
    late: counters.get('late'),
  }
  await close()
  if (
    figures.raw !== sent ||
    figures.normalized !== sent ||
    figures.counted !== sent ||
    figures.rejected + figures.duplicates + figures.late > 0
  )
    throw new Error(`${sent} records were sent: ${JSON.stringify(figures)}`)
  const messages = runs.reduce((sum, run) => sum + run.messages, 0)
  return {
    ...caseResult(
      definition.name,
      args,
      'records/s',
      summarise(runs),
      `${sent} raw records = normalized in the log, all of them ${definition.counted}; none rejected, duplicate or late`,
      [],
    ),
    ...(brokerCpu === undefined ? {} : { brokerUsPerMessage: round((brokerSeconds * 1e6) / messages, 3) }),
    notes: [pinned ? 'all threads on one core' : 'on all cores: no taskset'],
  }
}

/** As `countRecords`: what a transaction wrote can be read when its markers are there, a little after its commit. */
async function countUntil(log: Log, topic: string, expected: number): Promise<number> {
  for (const deadline = performance.now() + MARKERS_MS_MAX; ; await sleep(MARKERS_POLL_MS)) {
    const records = await countRecords(log, topic)
    if (records >= expected || performance.now() > deadline) return records
  }
}

/** Records that can be read of all partitions: offsets of a log with transactions have gaps. */
export async function countRecords(log: Log, topic: string, partitions = TOPIC.partitions): Promise<number> {
  let records = 0
  for (let partition = 0; partition < partitions; partition++) {
    const { start, end } = await log.range(topic, partition)
    for (let offset = start; offset < end; ) {
      const { batches, nextOffset } = await log.read(topic, partition, offset, READ_BYTES)
      for (let at = 0; at < batches.length; ) {
        const header = readBatchHeader(batches, at)!
        records += header.recordCount
        at += header.byteLength
      }
      if (nextOffset <= offset) break
      offset = nextOffset
    }
  }
  return records
}
