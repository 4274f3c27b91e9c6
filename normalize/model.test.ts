// The whole stage against its model: any records, cut into any batches, with crashes and refusals at any step.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { AppendRequest, AppendResult, Log } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { rawTopic } from '../schemas/names.ts'
import { CounterBlock } from '../std/counters.ts'
import { MillraceError } from '../std/errors.ts'
import { NORMALIZE_COUNTERS, REJECT_CODES } from './counters.ts'
import {
  appendRaw,
  createTopics,
  descriptor,
  expectedOf,
  outcomeOf,
  partitionOf,
  plainDescriptor,
  type RawRecord,
  REJECTED_ID,
} from './model.ts'
import { OutputBatches } from './output.ts'
import { PartitionNormalizer, Tally } from './partition.ts'
import { RejectedBatches } from './rejected-batches.ts'
import { NormalizeStage } from './run.ts'
import { PartitionState, STATE_LIMITS_DEFAULT } from './state.ts'
import { compileTransform } from './transform.ts'

const WINDOW_RECORDS = 64
const EPOCH_MS = 1_760_000_000_000

/** One thing that happens to a device; resends refer to what it sent before. */
const event = fc.record(
  {
    device: fc.nat(5),
    kind: fc.oneof(
      { weight: 12, arbitrary: fc.constant('current' as const) },
      { weight: 4, arbitrary: fc.constant('old' as const) },
      { weight: 3, arbitrary: fc.constant('resend' as const) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(
          'garbage' as const,
          'no_frame' as const,
          'no_schema' as const,
          'no_device' as const,
          'reset' as const,
        ),
      },
    ),
    back: fc.nat(80),
    /** Of the event time against the receive time, in microseconds. */
    shift: fc.oneof(
      { weight: 10, arbitrary: fc.integer({ min: -900_000, max: 900_000 }) },
      { weight: 2, arbitrary: fc.integer({ min: -60_000_000, max: 0 }) },
      { weight: 1, arbitrary: fc.constantFrom(-1_000_000_000, -1_000_000_001, 1_000_000, 1_000_001) },
    ),
    temperature: fc.constantFrom(20.5, 20.5, 21.25, 85, 85.5, 1000, Number.NaN),
    humidity: fc.constantFrom(null, 40, 100.5, Number.NaN),
    firmware: fc.constantFrom('1.0.0', '1.9', '2.1.0', '3.0', 'unknown'),
    battery: fc.constantFrom(90, 90, 90, 3, -1),
  },
  { noNullPrototype: true },
)

function recordsOf(events: readonly (typeof event extends fc.Arbitrary<infer T> ? T : never)[]): RawRecord[] {
  const sent = new Map<number, RawRecord[]>()
  const sequences = new Map<number, number>()
  return events.flatMap((one, i): RawRecord[] => {
    const receiveMs = EPOCH_MS + i * 10
    const before = sent.get(one.device) ?? []
    sent.set(one.device, before)
    if (one.kind === 'reset') {
      sequences.set(one.device, 0)
      return []
    }
    if (one.kind === 'resend') {
      const again = before.at(-1 - (one.back % Math.max(1, before.length)))
      return again === undefined ? [] : [{ ...again, receiveMs }]
    }
    const seq = sequences.get(one.device) ?? 0
    sequences.set(one.device, seq + 1)
    const { temperature, humidity, firmware, battery } = one
    const record: RawRecord = {
      device: `device-${one.device}`,
      receiveMs,
      kind: one.kind,
      reading: { event_time: receiveMs * 1000 + one.shift, seq, temperature, humidity, firmware, battery },
    }
    before.push(record)
    return [record]
  })
}

/** What happens between two raw appends. */
const action = fc.oneof(
  { weight: 4, arbitrary: fc.constant('nothing' as const) },
  { weight: 6, arbitrary: fc.constant('step' as const) },
  { weight: 1, arbitrary: fc.constant('restart' as const) },
  { weight: 1, arbitrary: fc.constant('minute' as const) },
  { weight: 1, arbitrary: fc.constant('crash before' as const) },
  { weight: 1, arbitrary: fc.constant('crash after' as const) },
  { weight: 2, arbitrary: fc.constant('refuse' as const) },
)

/** A log whose next append fails as told. */
class FaultyLog implements Log {
  next: 'crash before' | 'crash after' | 'refuse' | undefined
  readonly #log: Log
  #refusals = 0

  constructor(log: Log) {
    this.#log = log
  }

  get id(): string {
    return this.#log.id
  }

  async append(request: AppendRequest): Promise<AppendResult> {
    const fault = this.next
    this.next = undefined
    // As slow as a disk, so that the next step is built meanwhile.
    await new Promise((resolve) => setImmediate(resolve))
    if (fault === 'crash before') throw new MillraceError('log_stopped', 'power failed before the write')
    if (fault === 'refuse') {
      this.#refusals++
      throw new MillraceError(this.#refusals % 2 === 0 ? 'backlog_full' : 'log_full', 'no room')
    }
    const result = await this.#log.append(request)
    if (fault === 'crash after') throw new MillraceError('log_stopped', 'power failed after the write')
    return result
  }

  createTopic: Log['createTopic'] = (name, config) => this.#log.createTopic(name, config)
  describeTopic: Log['describeTopic'] = (name) => this.#log.describeTopic(name)
  listTopics: Log['listTopics'] = () => this.#log.listTopics()
  read: Log['read'] = (topic, partition, offset, max) => this.#log.read(topic, partition, offset, max)
  range: Log['range'] = (topic, partition) => this.#log.range(topic, partition)
  changes: Log['changes'] = (sequence, timeoutMs) => this.#log.changes(sequence, timeoutMs)
  position: Log['position'] = (stage, topic, partition) => this.#log.position(stage, topic, partition)
  close: Log['close'] = () => this.#log.close()
}

test('outputs equal the model’s, for any records, batches, steps, crashes and refusals', async () => {
  const seen = { restarts: 0, duplicates: 0, rewritten: 0, passedBatches: 0, late: 0 }
  const codes = new Set<string>()
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { minLength: 1, maxLength: 250, size: 'max' }),
      fc.infiniteStream(fc.integer({ min: 1, max: 25 })),
      fc.infiniteStream(action),
      fc.boolean(),
      fc.constantFrom(0, 1000),
      fc.boolean(),
      fc.integer({ min: 400, max: 16_000 }),
      async (events, sizes, actions, references, copiedBytesMin, plain, stepBytesMax) => {
        const stream = plain ? plainDescriptor() : descriptor()
        const memory = new MemoryLog()
        const log = new FaultyLog(memory)
        await createTopics(log, stream)
        let now = 0
        const limits = { ...STATE_LIMITS_DEFAULT, windowRecordsMax: WINDOW_RECORDS }
        const start = async (): Promise<NormalizeStage> => {
          const stage = new NormalizeStage({
            log,
            streams: [stream],
            rejectedSchemaId: REJECTED_ID,
            counters: new CounterBlock(NORMALIZE_COUNTERS),
            limits,
            references,
            copiedBytesMin,
            stepBytesMax,
            now: () => now,
          })
          await stage.start()
          return stage
        }
        let stage = await start()
        const step = async (): Promise<void> => {
          now += 5000
          try {
            await stage.step()
            if (log.next !== undefined) await stage.settle()
          } catch {
            seen.restarts++
            stage = await start()
          }
        }

        const records = recordsOf(events).filter((one) => !plain || one.kind !== 'old')
        const raw: RawRecord[][] = [[], []]
        for (let at = 0; at < records.length; ) {
          const some = records.slice(at, (at += sizes.next().value as number))
          for (const partition of [0, 1]) {
            const mine = some.filter((one) => partitionOf(one.device, 2) === partition)
            if (mine.length === 0) continue
            raw[partition]!.push(...mine)
            await appendRaw(memory, stream, partition, mine)
          }
          const next = actions.next().value as string
          if (next === 'restart') {
            await stage.settle().catch(() => {})
            seen.restarts++
            stage = await start()
          } else if (next === 'minute') {
            now += 61_000
            memory.maintain()
            await step()
          } else if (next !== 'nothing') {
            if (next !== 'step') log.next = next as FaultyLog['next']
            await step()
          }
        }
        log.next = undefined
        for (let i = 0; i < 1000; i++) {
          await step()
          if (stage.caughtUp) break
        }
        assert.ok(stage.caughtUp)

        for (const partition of [0, 1]) {
          const mine = raw[partition]!
          const expected = expectedOf(stream, partition, mine, WINDOW_RECORDS)
          const { duplicates, ...rows } = expected
          assert.deepEqual(await outcomeOf(log, stream, partition), rows)
          assert.equal(mine.length, rows.normalized.length + rows.rejected.length + duplicates)
          seen.duplicates += duplicates
          seen.rewritten += rows.normalized.filter((row) => row.source !== undefined).length
          seen.late += rows.normalized.filter((row) => row.lateMs !== undefined).length
          for (const { code } of rows.rejected) codes.add(code)

          // What is remembered equals what one pass over all records would remember.
          const state = new PartitionState(limits)
          const normalizer = new PartitionNormalizer(compileTransform(stream), state, {
            partition,
            references,
            copiedBytesMin,
          })
          const { end } = await log.range(rawTopic('default', 'telemetry'), partition)
          const all = await log.read(rawTopic('default', 'telemetry'), partition, 0, Infinity)
          const output = new OutputBatches()
          output.clear()
          const tally = new Tally()
          normalizer.process(all.batches, 0, end, output, new RejectedBatches('raw', REJECTED_ID), tally)
          assert.deepEqual(
            stage.stateOf(rawTopic('default', 'telemetry'), partition)!.chunks(),
            state.chunks(),
          )
          seen.passedBatches += tally.batchesPassed
        }
      },
    ),
    { numRuns: process.env['MILLRACE_LONG'] ? 2000 : 100 },
  )
  assert.deepEqual(
    [...codes].sort(),
    REJECT_CODES.filter((code) => code !== 'resolution_failed' && code !== 'rule_failed').sort(),
  )
  for (const [what, count] of Object.entries(seen)) assert.ok(count > 20, `${what}: ${count}`)
})
