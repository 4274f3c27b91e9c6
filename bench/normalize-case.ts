// What the two cases of normalize share: the stage on the embedded log, from raw batches that lie in the journal
// to normalized ones that are durable, with duplicates, lateness, positions and snapshots. The process runs on one
// core, the log's thread too.
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log, TopicConfig } from '../log/log.ts'
import { connectLog } from '../log/log-client.ts'
import { startLogThread } from '../log/log-service.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { NORMALIZE_COUNTERS, type NormalizeCounter } from '../normalize/counters.ts'
import { NormalizeStage } from '../normalize/run.ts'
import { normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import { CounterBlock } from '../std/counters.ts'
import { type CaseArguments, type CaseResult, caseResult, Random, type Run, summarise } from './harness.ts'
import { environmentStream, PAYLOAD_BYTES_MAX, Sensor } from './payloads.ts'
import { pinSelf, removeFolder, temporaryFolder } from './processes.ts'

const SCHEMA_ID = 2
const REJECTED_SCHEMA_ID = 1
const DEVICES = 1000
const BATCH_RECORDS = 1000
const CHUNK_RECORDS = 400_000
const CHUNK_RECORDS_SMOKE = 20_000
const SETTLE_MS = 200
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

/** A fleet that sends on: each chunk is new messages of the same devices. */
class Fleet {
  readonly #sensors: { key: Uint8Array; sensor: Sensor }[]
  readonly #payload = new Uint8Array(PAYLOAD_BYTES_MAX)
  #next = 0

  constructor(seed: number, firmware: string) {
    const random = new Random(seed)
    this.#sensors = Array.from({ length: DEVICES }, (_, i) => ({
      key: new TextEncoder().encode(`sensor-${String(i).padStart(6, '0')}`),
      sensor: new Sensor(random, START_MS, false, 1, firmware),
    }))
  }

  /** Device i is in partition i modulo their number, its messages in order. */
  async send(log: Log, topic: string, records: number): Promise<void> {
    const builders = Array.from({ length: TOPIC.partitions }, () => new RecordBatchBuilder(1 << 17))
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
      const end = sensor.writeAvro(this.#payload, 0, SCHEMA_ID)
      const partition = device % TOPIC.partitions
      // Received about when it was measured.
      const receivedMs = START_MS + Math.floor(this.#next / DEVICES) * 1025
      builders[partition]!.append(receivedMs, key, this.#payload.subarray(0, end))
      if (builders[partition]!.recordCount === BATCH_RECORDS) flush(partition)
    }
    for (let partition = 0; partition < TOPIC.partitions; partition++) flush(partition)
    await Promise.all(appends)
  }
}

export async function runNormalizeCase(definition: NormalizeCase, args: CaseArguments): Promise<CaseResult> {
  const pinned = pinSelf()
  const folder = temporaryFolder()
  const thread = await startLogThread({ dir: path.join(folder, 'log') })
  const log = await connectLog(thread.newPort())
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
    onStreamError: (_, error) => {
      throw error
    },
  })
  await stage.start()
  const fleet = new Fleet(args.seed, definition.firmware)
  const chunk = args.smoke ? CHUNK_RECORDS_SMOKE : CHUNK_RECORDS
  let sent = 0
  const runs: Run[] = []
  for (let i = 0; i <= args.runs; i++) {
    const run: Run = { messages: 0, seconds: 0, cpuSeconds: 0 }
    while (run.seconds < args.seconds) {
      await fleet.send(log, raw, chunk)
      sent += chunk
      // The journal fills its next segment with zeros: that is not this case's work.
      await sleep(args.smoke ? 0 : SETTLE_MS)
      const cpu = process.cpuUsage()
      const started = performance.now()
      while (counters.get('records_in') < sent) await stage.step(1)
      await stage.settle()
      run.seconds += (performance.now() - started) / 1000
      const { user, system } = process.cpuUsage(cpu)
      run.cpuSeconds += (user + system) / 1e6
      run.messages += chunk
    }
    // The first run warms up.
    if (i > 0 || args.smoke) runs.push(run)
    if (args.smoke) break
  }
  const ends = async (topic: string): Promise<number> => {
    let sum = 0
    for (let p = 0; p < TOPIC.partitions; p++) sum += (await log.range(topic, p)).end
    return sum
  }
  const figures = {
    raw: await ends(raw),
    normalized: await ends(normalized),
    rejected: await ends(rejected),
    duplicates: counters.get('duplicates'),
    counted: counters.get(definition.counted),
    late: counters.get('late'),
  }
  await log.close()
  await thread.close()
  removeFolder(folder)
  if (
    figures.raw !== sent ||
    figures.normalized !== sent ||
    figures.counted !== sent ||
    figures.rejected + figures.duplicates + figures.late > 0
  )
    throw new Error(`${sent} records were sent: ${JSON.stringify(figures)}`)
  return {
    ...caseResult(
      definition.name,
      args,
      'records/s',
      summarise(runs),
      `${sent} raw records = normalized in the log, all of them ${definition.counted}; none rejected, duplicate or late`,
      [],
    ),
    notes: [pinned ? 'all threads on one core' : 'on all cores: no taskset'],
  }
}
