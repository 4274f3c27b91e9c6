// Any bytes at all give events or one of our own codes, never an exception, and the same ones in any cutting.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { conversation, encode } from './mqtt-arbitraries.ts'
import {
  decodeConnect,
  decodeDisconnect,
  decodePublishProperties,
  decodeSubscribe,
  decodeUnsubscribe,
} from './mqtt-packets.ts'
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
