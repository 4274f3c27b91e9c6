import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import mqttPacket, { type IPublishPacket } from 'mqtt-packet'
import { conversation, encode } from './mqtt-arbitraries.ts'
import {
  AHEAD_END,
  AHEAD_ENTRY,
  AHEAD_KNOWN_AS,
  AHEAD_START,
  CLOSE,
  CONTINUE,
  HOLD,
  type MqttParser,
  PAUSE,
  type PacketHandler,
} from './mqtt-parser.ts'
import { Recorder } from './mqtt-recorder.ts'
import { isTopicName } from './topic-name.ts'

const level = fc.constantFrom(4 as const, 5 as const)
const NAMES: Record<string, string> = { pingreq: 'ping' }

test('golden packets', () => {
  const folder = path.join(import.meta.dirname, 'golden')
  const cases = fs.readdirSync(folder).filter((file) => file.endsWith('.hex'))
  assert.ok(cases.length > 30)
  for (const file of cases) {
    const bytes = Buffer.from(
      fs.readFileSync(path.join(folder, file), 'utf8').replace(/\s|#.*$/gm, ''),
      'hex',
    )
    const expected = JSON.parse(fs.readFileSync(path.join(folder, file.replace('.hex', '.json')), 'utf8'))
    const recorder = new Recorder(expected.packetBytesMax ?? 65_536, expected.level)
    recorder.feed(bytes)
    assert.deepEqual(recorder.events, expected.events, file)
    const byBytes = new Recorder(expected.packetBytesMax ?? 65_536, expected.level)
    byBytes.feed(
      bytes,
      Array.from({ length: bytes.length }, (_, i) => i),
    )
    assert.deepEqual(byBytes.events, expected.events, `${file}, byte by byte`)
  }
})

test('what mqtt-packet writes is found, in any cutting', () => {
  const input = level.chain((one) => fc.tuple(fc.constant(one), conversation(one), fc.array(fc.nat())))
  fc.assert(
    fc.property(input, ([one, packets, numbers]) => {
      const bytes = encode(packets, one)
      const cuts = numbers.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b)
      const whole = new Recorder().feed(bytes)
      assert.deepEqual(new Recorder().feed(bytes, cuts).events, whole.events)
      assert.deepEqual(
        whole.events.map((event) => event.event),
        packets.map((packet) => NAMES[packet.cmd] ?? packet.cmd),
      )
      for (const [i, packet] of packets.entries())
        if (packet.cmd === 'publish') assertPublish(whole.events[i]!, packet as IPublishPacket)
      assert.equal(whole.parser.carriedBytes, 0)
    }),
    { numRuns: 400 },
  )
})

function assertPublish(event: Record<string, unknown>, packet: IPublishPacket): void {
  const flags = (packet.dup ? 8 : 0) | (packet.qos << 1) | (packet.retain ? 1 : 0)
  assert.equal(event['flags'], flags)
  assert.equal(event['topic'], packet.topic)
  assert.equal(event['packetId'], packet.qos > 0 ? packet.messageId : 0)
  assert.equal(event['payload'], Buffer.from(packet.payload).toString('hex'))
}

test('pauses and holds give every packet once, in order, in any cutting', () => {
  const input = level.chain((one) =>
    fc.tuple(
      fc.constant(one),
      conversation(one),
      fc.array(fc.nat()),
      fc.array(fc.constantFrom(CONTINUE, PAUSE, HOLD), { maxLength: 12 }),
    ),
  )
  fc.assert(
    fc.property(input, ([one, packets, numbers, answers]) => {
      const bytes = encode(packets, one)
      const cuts = numbers.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b)
      const expected = new Recorder().feed(bytes).events
      const recorder = new Recorder()
      recorder.answers.push(...answers)
      recorder.feed(bytes, cuts)
      for (let i = 0; i < 40; i++) recorder.parser.resume()
      // A packet that was held was given again: drop its first appearances.
      const events = recorder.events.filter((_, i) => answers[i] !== HOLD)
      assert.deepEqual(events, expected)
      assert.equal(recorder.parser.carriedBytes, 0)
    }),
    { numRuns: 400 },
  )
})

/** Knows topics before their packets come, by their length; not those of odd length. */
class Knowing extends Recorder {
  readonly looksAhead = true
  knownCount = 0

  onTopicsAhead(_bytes: Uint8Array, ahead: Int32Array, count: number): void {
    assert.ok(count > 0)
    for (let at = 0; at < count * AHEAD_ENTRY; at += AHEAD_ENTRY) {
      assert.equal(ahead[at + AHEAD_KNOWN_AS], 0)
      const length = ahead[at + AHEAD_END]! - ahead[at + AHEAD_START]!
      if (length % 2 === 0) ahead[at + AHEAD_KNOWN_AS] = length
    }
  }

  override onPublish(...packet: Parameters<PacketHandler['onPublish']>): number {
    const [bytes, flags, start, end] = packet
    const knownAs = packet[9]
    if (knownAs !== 0) {
      assert.equal(knownAs, end - start)
      this.knownCount++
    }
    return super.onPublish(bytes, flags, start, end, packet[4], packet[5], packet[6], packet[7], packet[8])
  }
}

test('what was known of a topic ahead comes back with its packet, in any cutting, with pauses', () => {
  let knownCount = 0
  const input = level.chain((one) =>
    fc.tuple(
      fc.constant(one),
      conversation(one),
      fc.array(fc.nat(), { maxLength: 3 }),
      fc.array(fc.constantFrom(CONTINUE, CONTINUE, PAUSE, HOLD), { maxLength: 12 }),
    ),
  )
  fc.assert(
    fc.property(input, ([one, packets, numbers, answers]) => {
      const bytes = encode(packets, one)
      const cuts = numbers.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b)
      const whole = new Recorder().feed(bytes)
      const knowing = new Knowing()
      knowing.answers.push(...answers)
      knowing.feed(bytes, cuts)
      let most = 20
      while (knowing.parser.resume() === PAUSE) assert.ok(--most > 0)
      const held = knowing.events.filter((_, i) => answers[i] !== HOLD)
      assert.deepEqual(held, whole.events)
      knownCount += knowing.knownCount
    }),
    { numRuns: 400 },
  )
  assert.ok(knownCount > 20, `${knownCount} topics were known`)
  // Who knows a topic has checked it.
  const packet = Buffer.from([0x30, 4, 0, 2, 0x61, 0x2b])
  assert.deepEqual(
    [new Knowing(1000, 4).feed(packet), new Recorder(1000, 4).feed(packet)].map(
      ({ events }) => events[0]!.event,
    ),
    ['publish', 'malformed'],
  )
})

test('what is not right within a run is found as if there were none, wherever the buffer ends', () => {
  const generate = (one: 4 | 5, i: number, more: Partial<IPublishPacket> = {}): Buffer =>
    mqttPacket.generate(
      {
        cmd: 'publish',
        topic: 'devices/a',
        payload: `${i}`,
        qos: 1,
        messageId: i,
        dup: false,
        retain: false,
        ...more,
      },
      { protocolVersion: one },
    )
  const noId = (one: 4 | 5): Buffer => {
    const packet = generate(one, 0x1234)
    packet.fill(0, packet.indexOf(0x1234 >>> 8), packet.indexOf(0x1234 >>> 8) + 2)
    return packet
  }
  const misfits: ((one: 4 | 5) => Buffer)[] = [
    noId,
    (one) => generate(one, 3, { payload: 'x'.repeat(300) }),
    (one) => generate(one, 3, { payload: 'x'.repeat(20_000) }),
    (one) => generate(one, 3, { payload: '' }),
    (one) => generate(one, 3, { topic: 'devices/b' }),
    (one) => generate(one, 3, { topic: 'devices/ab' }),
    (one) => generate(one, 3, { qos: 0 }),
    (one) => generate(one, 3, { properties: { topicAlias: 2 } }),
    (one) => generate(one, 3, { topic: '', properties: { topicAlias: 1 } }),
    () => Buffer.from([0x32, 0]),
    () => Buffer.from([0x32, 2, 0, 9]),
    () => Buffer.from([0x32, 0xff, 0xff, 0xff, 0xff, 0x01]),
    () => Buffer.from([0xc0, 0]),
  ]
  // Read without the last byte of its remaining length, such a packet has a topic as well.
  const shifted = '\u0001'.repeat(257)
  for (const one of [4, 5] as const) {
    const packets = [1, 2].map((i) => generate(one, i, { topic: shifted, payload: 'x'.repeat(20_000) }))
    const bytes = Uint8Array.from(Buffer.concat([generate(one, 3, { topic: shifted }), ...packets]))
    const always: Iterator<number> = { next: () => ({ value: 64, done: false }) }
    const withRuns = new Recorder(65_536, one).withRuns(always).feed(bytes)
    assert.deepEqual(withRuns.events, new Recorder(65_536, one).feed(bytes).events)
  }
  for (const one of [4, 5] as const)
    for (const misfit of misfits) {
      const before = [1, 2].map((i) => generate(one, i))
      const after = [4, 5, 6].map((i) => generate(one, i))
      const bytes = Uint8Array.from(Buffer.concat([...before, misfit(one), ...after]))
      const events = (recorder: Recorder, end: number) => {
        // No byte after the end, so that whoever reads it fails.
        recorder.parser.parse(bytes.slice(0, end), 0, end)
        recorder.parser.parse(bytes.slice(end), 0, bytes.length - end)
        return recorder.events
      }
      const ends =
        bytes.length > 1000 ? [bytes.length] : Array.from({ length: bytes.length + 1 }, (_, i) => i)
      for (const end of ends) {
        const always: Iterator<number> = { next: () => ({ value: 64, done: false }) }
        const withRuns = new Recorder(65_536, one).withRuns(always)
        const known = new Recorder(65_536, one).withRuns(always).knowing()
        const expected = events(new Recorder(65_536, one), end)
        assert.deepEqual(events(withRuns, end), expected)
        assert.deepEqual(events(known, end), expected)
      }
    }
})

test('nothing is read after CLOSE', () => {
  const recorder = new Recorder(1000, 4)
  recorder.answers.push(CONTINUE, CLOSE)
  const pings = Uint8Array.of(0xc0, 0, 0xc0, 0, 0xc0, 0)
  assert.equal(recorder.parser.parse(pings, 0, 6), CLOSE)
  assert.equal(recorder.parser.parse(pings, 0, 6), CLOSE)
  assert.equal(recorder.parser.resume(), CLOSE)
  assert.equal(recorder.events.length, 2)
})

test('an announced packet gets memory only as its bytes come', () => {
  const recorder = new Recorder(1 << 20, 4)
  const parser: MqttParser = recorder.parser
  parser.parse(Uint8Array.of(0x30, 0xff, 0xff, 0x1f, 0, 1), 0, 6)
  assert.ok(parser.carriedBytes <= 64)
  parser.parse(new Uint8Array(100), 0, 100)
  assert.ok(parser.carriedBytes <= 256)
  parser.close()
  assert.equal(parser.carriedBytes, 0)
})

test('a topic name is UTF-8 without wildcards and U+0000, wherever they stand and whatever is around it', () => {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const isName = (name: Uint8Array): boolean => {
    try {
      return name.length > 0 && !/[+#\0]/.test(decoder.decode(name))
    } catch {
      return false
    }
  }
  const byte = fc.oneof(fc.constantFrom(0, 0x2b, 0x23, 0x80, 0xff, 1, 0x2a, 0x2c, 0x22, 0x24), fc.nat(255))
  const plain = fc.uint8Array({ min: 0x41, max: 0x5a, maxLength: 20 })
  const name = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }).map((text) => Buffer.from(text)),
    // One byte of any kind among letters.
    fc
      .tuple(plain, fc.nat(20), byte)
      .map(([letters, at, one]) =>
        Buffer.concat([letters.subarray(0, at), Uint8Array.of(one), letters.subarray(at)]),
      ),
  )
  fc.assert(
    fc.property(name, fc.nat(5), byte, (bytes, before, around) => {
      const all = new Uint8Array(before + bytes.length + 3).fill(around)
      all.set(bytes, before)
      assert.equal(isTopicName(all, before, before + bytes.length), isName(bytes))
    }),
    { numRuns: 2000 },
  )
})
