// Any bytes at all give events or one of our own codes, never an exception, and the same ones in any cutting.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import mqttPacket from 'mqtt-packet'
import { conversation, encode } from './mqtt-arbitraries.ts'
import {
  decodeConnect,
  decodeDisconnect,
  decodePublishProperties,
  decodeSubscribe,
  decodeUnsubscribe,
} from './mqtt-packets.ts'
import { CONTINUE, HOLD, PAUSE } from './mqtt-parser.ts'
import { Recorder } from './mqtt-recorder.ts'

const RUNS = process.env['MILLRACE_LONG'] ? 200_000 : 2_000

/** Valid conversations with some bytes changed: deeper than noise gets. */
const damaged = fc.constantFrom(4 as const, 5 as const).chain((level) =>
  fc
    .tuple(
      conversation(level),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
    )
    .map(([packets, changes]) => {
      const bytes = Uint8Array.from(encode(packets, level))
      for (const [at, value] of changes) bytes[at % bytes.length] = value
      return bytes
    }),
)

const noise = fc.uint8Array({ maxLength: 60 })

test('parser: any bytes, any cutting', () => {
  fc.assert(
    fc.property(
      fc.oneof(noise, damaged),
      fc.constantFrom(0, 4, 5),
      fc.array(fc.nat(500)),
      (bytes, level, numbers) => {
        const cuts = numbers.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b)
        const whole = new Recorder(256, level).feed(bytes).events
        assert.deepEqual(new Recorder(256, level).feed(bytes, cuts).events, whole)
        for (const event of whole.slice(0, -1)) assert.notEqual(event.event, 'malformed')
        const last = whole.at(-1)
        if (last?.event === 'malformed') assert.ok([0x81, 0x82, 0x95].includes(last['reason'] as number))
      },
    ),
    { numRuns: RUNS },
  )
})

/** Packets that a run may be made of, and what may end one. */
const repeated = fc.constantFrom(4 as const, 5 as const).chain((level) =>
  fc.tuple(
    fc.constant(level),
    fc
      .array(
        fc.record({
          topic: fc.constantFrom(
            't',
            'devices/sensor-1/telemetry',
            'devices/sensor-2/telemetry',
            'devices/a',
          ),
          payload: fc.oneof(
            fc.uint8Array({ maxLength: 20 }),
            fc.uint8Array({ minLength: 100, maxLength: 200 }),
          ),
          qos: fc.constantFrom(0 as const, 1 as const),
          times: fc.integer({ min: 1, max: 90 }),
        }),
        { minLength: 1, maxLength: 6 },
      )
      .map((groups) =>
        groups.flatMap(({ topic, payload, qos, times }) =>
          Array.from({ length: times }, (_, i) =>
            mqttPacket.generate(
              {
                cmd: 'publish',
                topic,
                payload: Buffer.from([...payload, i]),
                qos,
                messageId: i + 1,
                dup: false,
                retain: false,
              },
              { protocolVersion: level },
            ),
          ),
        ),
      ),
    fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
  ),
)

test('parser: packets of one topic come as runs or one by one, the same ones, whatever is taken of each run', () => {
  let runs = 0
  let knownRuns = 0
  fc.assert(
    fc.property(
      repeated,
      fc.array(fc.nat()),
      fc.array(fc.constantFrom(CONTINUE, CONTINUE, CONTINUE, PAUSE, HOLD), { maxLength: 300 }),
      fc.infiniteStream(fc.nat(100)),
      ([level, packets, changes], numbers, answers, sizes) => {
        const bytes = Uint8Array.from(Buffer.concat(packets))
        for (const [at, value] of changes) bytes[at % bytes.length] = value
        const cuts = numbers.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b)
        const one = new Recorder(180, level)
        const many = new Recorder(180, level).withRuns(sizes)
        const known = new Recorder(180, level).withRuns(sizes).knowing()
        for (const recorder of [one, many, known]) {
          recorder.answers.push(...answers)
          recorder.feed(bytes, cuts)
          for (let i = 0; i < answers.length && recorder.parser.resume() === PAUSE; i++);
        }
        assert.deepEqual(many.events, one.events)
        assert.deepEqual(known.events, one.events)
        runs += many.runCount
        knownRuns += known.knownRunCount
      },
    ),
    { numRuns: RUNS / 4 },
  )
  assert.ok(runs > RUNS / 4 && knownRuns > RUNS / 4, `${runs} and ${knownRuns} runs`)
})

test('decoders of cold packets: any bytes', () => {
  fc.assert(
    fc.property(fc.oneof(noise, damaged), fc.nat(8), (bytes, skipped) => {
      const start = Math.min(skipped, bytes.length)
      for (const level of [4, 5]) {
        for (const decode of [decodeSubscribe, decodeUnsubscribe]) {
          const result = decode(bytes, start, bytes.length, level)
          if (typeof result === 'number') assert.ok(result >= 0x80)
        }
      }
      for (const decode of [decodeDisconnect, decodePublishProperties]) {
        const result = decode(bytes, start, bytes.length)
        if (typeof result === 'number') assert.ok(result >= 0x80)
      }
      const connect = decodeConnect(bytes, start, bytes.length)
      if ('reason' in connect) assert.ok(connect.reason >= 0x80)
    }),
    { numRuns: RUNS },
  )
})
