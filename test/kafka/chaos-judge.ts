// What a chaos run has left (chaos.ts): the normalized topic and the table, held against what the devices know. Every
// acknowledged message is in both exactly once, each device's in the order in which it sent them.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openKafkaLog } from '../../log/log-kafka.ts'
import { RecordReader } from '../../log/record-batch.ts'
import { millrace, until } from '../millrace-process.ts'
import type { KafkaBrokers } from './broker.ts'
import { kafkaOptionsOf } from './options.ts'
import { explainTwice } from './segments.ts'

/** How long what was acknowledged may take to be in the table, undisturbed. */
export const SETTLE_MS_MAX = 180_000

/** What a device knows. */
interface Sender {
  id: string
  /** One above the highest sequence that was sent. */
  next: number
  acknowledged: ReadonlySet<number>
}

/** Messages acknowledged, records of the topics, rows of the table. */
export interface Judgement {
  acknowledged: number
  raw: number
  normalized: number
  rows: number
}

/** Reads the normalized topic and the table, and holds them against what the devices know. */
export async function judge(
  tables: readonly string[],
  kafka: KafkaBrokers,
  devices: readonly Sender[],
  say: (line: string) => void,
): Promise<Judgement> {
  const acknowledged = devices.reduce((sum, one) => sum + one.acknowledged.size, 0)
  const log = await openKafkaLog(kafkaOptionsOf(kafka), 'judge')
  try {
    const rowsNow = async (): Promise<{ device: string; seq: number; place: string }[]> => {
      const { code, stdout, stderr } = await millrace([
        ...['query', 'SELECT device_id, seq, _log_partition, _offset FROM telemetry', '--json', ...tables],
      ])
      assert.equal(code, 0, stderr)
      return stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .map((row) => ({
          device: String(row['device_id']),
          seq: Number(row['seq']),
          place: `${row['_log_partition']}/${row['_offset']}`,
        }))
    }
    let rows: Awaited<ReturnType<typeof rowsNow>> = []
    // Where they do not all come, what follows says which are missing where.
    const late = await until(
      'all acknowledged messages in the table',
      async () => {
        const before = rows.length
        rows = await rowsNow()
        if (rows.length !== before) say(`${rows.length} of ${acknowledged} rows`)
        if (rows.length >= acknowledged) return true
        await sleep(2000)
        return undefined
      },
      SETTLE_MS_MAX,
    ).then(
      () => undefined,
      (error: unknown) => error,
    )
    const normalized = await recordsOf(log, 'default.telemetry.normalized')
    const raw = await recordsOf(log, 'default.telemetry.raw')
    // Each device's records in the order of the topic, and how often each was there.
    const inTopic = Map.groupBy(normalized, ({ device }) => device)
    const inTable = Map.groupBy(rows, ({ device }) => device)
    for (const { id, acknowledged: own, next } of devices) {
      const topic = (inTopic.get(id) ?? []).map(({ seq }) => seq)
      const table = (inTable.get(id) ?? []).map(({ seq }) => seq)
      for (const [where, found] of [
        ['normalized topic', topic],
        ['table', table],
      ] as const) {
        const set = new Set(found)
        const lost = [...own].filter((seq) => !set.has(seq))
        assert.equal(lost.length, 0, `${id}: lost in the ${where}: ${lost.slice(0, 20).join(', ')}`)
        const seen = new Set<number>()
        const doubled = found.filter((seq) => seen.size === seen.add(seq).size)
        if (doubled.length > 0) sayWhyTwice(kafka, say)
        assert.equal(doubled.length, 0, `${id}: twice in the ${where}: ${doubled.slice(0, 20).join(', ')}`)
        assert.ok(
          found.every((seq) => seq < next),
          `${id}: never sent, in the ${where}`,
        )
      }
      const wrong = topic.findIndex((seq, i) => i > 0 && seq < topic[i - 1]!)
      assert.equal(
        wrong,
        -1,
        `${id}: out of order at ${topic.slice(Math.max(0, wrong - 3), wrong + 3).join(', ')}`,
      )
    }
    const places = new Set(rows.map(({ place }) => place))
    assert.equal(places.size, rows.length, 'two rows of one record')
    if (late !== undefined) throw late
    return { acknowledged, raw: raw.length, normalized: normalized.length, rows: rows.length }
  } finally {
    await log.close()
  }
}

function sayWhyTwice(kafka: KafkaBrokers, say: (line: string) => void): void {
  const lines = explainTwice({
    data: join(kafka.folder, 'data-0'),
    raw: 'default.telemetry.raw',
    normalized: 'default.telemetry.normalized',
    partitions: 4,
    identify: ({ key, value }) => `${key}/${seqOf(value)}`,
    group: 'millrace-normalize',
  })
  for (const line of lines) say(line)
}

/** Device and sequence of every record, partition by partition; the payload is read with the reading's own layout. */
async function recordsOf(
  log: Awaited<ReturnType<typeof openKafkaLog>>,
  topic: string,
): Promise<{ device: string; seq: number }[]> {
  const described = await log.describeTopic(topic)
  const found: { device: string; seq: number }[] = []
  const reader = new RecordReader()
  const decoder = new TextDecoder()
  for (let partition = 0; partition < described!.config.partitions; partition++) {
    const { start, end } = await log.range(topic, partition)
    for (let at = start; at < end; ) {
      const { batches, nextOffset } = await log.read(topic, partition, at, 1 << 20)
      reader.reset(batches)
      while (reader.next()) {
        if (reader.offset < at) continue
        const device = decoder.decode(reader.bytes.slice(reader.keyStart, reader.keyEnd))
        found.push({ device, seq: seqOf(reader.bytes.subarray(reader.valueStart, reader.valueEnd)) })
      }
      if (nextOffset <= at) break
      at = nextOffset
    }
  }
  return found
}

/** The frame, the event time, then the sequence: both zigzag varints (contracts/environment.yaml). */
function seqOf(value: Uint8Array): number {
  let at = 5
  while (value[at++]! >= 0x80);
  let zigzag = 0
  let scale = 1
  for (; ; scale *= 128) {
    const byte = value[at++]!
    zigzag += (byte & 0x7f) * scale
    if (byte < 0x80) return zigzag / 2
  }
}
