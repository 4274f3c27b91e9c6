import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { conversation, encode } from './mqtt-arbitraries.ts'
import { CLOSE, CONTINUE } from './mqtt-parser.ts'
import { Recorder } from './mqtt-recorder.ts'
import {
  frameHeaderBytes,
  unmask,
  WebSocketReader,
  writeClose,
  writeFrameHeader,
  writePong,
} from './websocket.ts'
import { readUpgrade } from './websocket-upgrade.ts'

/** A frame as a client sends it. `flags`: FIN and reserved bits. */
function frame(
  opcode: number,
  payload: Uint8Array,
  mask = [1, 2, 3, 4],
  flags = 0x80,
  lengthForm = 0,
): Uint8Array {
  const form = Math.max(lengthForm, payload.length < 126 ? 7 : payload.length < 65_536 ? 16 : 64)
  const header = [flags | opcode, 0x80 | (form === 7 ? payload.length : form === 16 ? 126 : 127)]
  if (form === 16) header.push(payload.length >> 8, payload.length & 0xff)
  if (form === 64) header.push(0, 0, 0, 0, ...[24, 16, 8, 0].map((shift) => (payload.length >> shift) & 0xff))
  return Uint8Array.from([...header, ...mask, ...payload.map((byte, i) => byte ^ mask[i & 3]!)])
}

class Harness {
  readonly recorder: Recorder
  readonly reader: WebSocketReader
  readonly pings: string[] = []
  readonly closes: number[] = []
  result = CONTINUE

  constructor(level = 0, frameBytesMax = 65_536) {
    this.recorder = new Recorder(65_536, level)
    this.reader = new WebSocketReader(this, this.recorder.parser, frameBytesMax)
  }

  onWsPing(payload: Uint8Array): void {
    this.pings.push(Buffer.from(payload).toString('hex'))
  }

  onWsClose(status: number): void {
    this.closes.push(status)
  }

  feed(bytes: Uint8Array, cuts: readonly number[] = []): this {
    let from = 0
    for (const to of [...cuts, bytes.length]) {
      const buffer = new Uint8Array(to - from + 9).fill(0xaa)
      buffer.set(bytes.subarray(from, to), 5)
      this.result = this.reader.read(buffer, 5, 5 + to - from)
      assert.deepEqual([...buffer.subarray(0, 5)], [0xaa, 0xaa, 0xaa, 0xaa, 0xaa])
      assert.deepEqual([...buffer.subarray(5 + to - from)], [0xaa, 0xaa, 0xaa, 0xaa])
      from = to
    }
    return this
  }
}

test('any framing and any cutting give the same packets', () => {
  const level = fc.constantFrom(4 as const, 5 as const)
  const input = level.chain((one) =>
    fc.record({
      packets: conversation(one).map((packets) => encode(packets, one)),
      frames: fc.array(fc.nat(), { maxLength: 5 }),
      cuts: fc.array(fc.nat(), { maxLength: 12 }),
      mask: fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)),
      fragmented: fc.boolean(),
      ping: fc.option(fc.uint8Array({ maxLength: 125 }), { nil: undefined }),
      lengthForm: fc.constantFrom(7, 16, 64),
    }),
  )
  fc.assert(
    fc.property(input, ({ packets, frames, cuts, mask, fragmented, ping, lengthForm }) => {
      const points = [0, ...frames.map((n) => n % (packets.length + 1)).sort((a, b) => a - b), packets.length]
      const parts: Uint8Array[] = []
      for (let i = 1; i < points.length; i++) {
        const isLast = i === points.length - 1
        const opcode = fragmented && i > 1 ? 0 : 2
        const flags = !fragmented || isLast ? 0x80 : 0
        parts.push(frame(opcode, packets.subarray(points[i - 1], points[i]), mask, flags, lengthForm))
        // A control frame may come between the fragments of a message.
        if (ping !== undefined) parts.push(frame(9, ping, mask))
      }
      const bytes = Buffer.concat(parts)
      const at = cuts.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b)
      const harness = new Harness().feed(bytes, at)
      assert.deepEqual(harness.recorder.events, new Recorder().feed(packets).events)
      assert.deepEqual(harness.closes, [])
      const expected =
        ping === undefined ? [] : Array(points.length - 1).fill(Buffer.from(ping).toString('hex'))
      assert.deepEqual(harness.pings, expected)
    }),
    { numRuns: 300 },
  )
})

test('what is refused, and with which status', () => {
  const ping = Uint8Array.of(0xc0, 0)
  const close = (bytes: Uint8Array, max?: number) => {
    const harness = new Harness(4, max).feed(bytes)
    assert.equal(harness.result, CLOSE)
    assert.deepEqual(harness.recorder.events, [])
    const slowly = new Harness(4, max).feed(
      bytes,
      Array.from(bytes, (_, i) => i),
    )
    assert.deepEqual(slowly.closes, harness.closes)
    // Nothing is read any more.
    harness.feed(frame(2, ping))
    assert.deepEqual(harness.recorder.events, [])
    assert.equal(harness.closes.length, 1)
    return harness.closes[0]
  }
  assert.equal(close(Uint8Array.of(0x82, 2, 0xc0, 0)), 1002, 'not masked')
  assert.equal(close(frame(1, ping)), 1003, 'text')
  assert.equal(close(frame(2, new Uint8Array(101)), 100), 1009, 'too big')
  assert.equal(close(Uint8Array.of(0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4)), 1009, '64-bit length')
  assert.equal(close(frame(2, ping, [0, 0, 0, 0], 0xc0)), 1002, 'reserved bit')
  assert.equal(close(frame(3, ping)), 1002, 'reserved opcode')
  assert.equal(close(frame(11, ping)), 1002, 'reserved control opcode')
  assert.equal(close(frame(0, ping)), 1002, 'continuation of nothing')
  assert.equal(close(frame(9, new Uint8Array(126))), 1002, 'long ping')
  assert.equal(close(frame(9, ping, undefined, 0)), 1002, 'fragmented ping')
  assert.equal(
    close(Buffer.concat([frame(2, new Uint8Array(0), undefined, 0), frame(2, ping)])),
    1002,
    'message in a message',
  )
  assert.equal(close(frame(8, new Uint8Array(0))), 1000)
  assert.equal(close(frame(8, Uint8Array.of(0x03, 0xe9, 0x62))), 1001)
  assert.equal(close(frame(8, Uint8Array.of(0x03))), 1002, 'half a status')
  assert.equal(close(frame(8, Uint8Array.of(0x03, 0xed))), 1002, 'status 1005 is never sent')
})

test('unmask at every alignment, and its rotation', () => {
  const bytes = fc.uint8Array({ maxLength: 40 })
  fc.assert(
    fc.property(bytes, fc.integer(), fc.nat(7), fc.nat(), (plain, mask, offset, cut) => {
      const key = [0, 8, 16, 24].map((shift) => (mask >>> shift) & 0xff)
      const buffer = new Uint8Array(plain.length + 16)
      buffer.set(
        plain.map((byte, i) => byte ^ key[i & 3]!),
        offset,
      )
      const middle = offset + (cut % (plain.length + 1))
      const rotated = unmask(buffer, offset, middle, mask)
      unmask(buffer, middle, offset + plain.length, rotated)
      assert.deepEqual(buffer.subarray(offset, offset + plain.length), plain)
      assert.ok(buffer.subarray(offset + plain.length).every((byte) => byte === 0))
    }),
  )
})

const request = (changes: Record<string, string | undefined> = {}, line = 'GET /mqtt HTTP/1.1') => {
  const headers: Record<string, string | undefined> = {
    Host: 'h',
    Upgrade: 'websocket',
    Connection: 'keep-alive, Upgrade',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Protocol': 'mqttv3.1, mqtt',
    ...changes,
  }
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}`],
  )
  return Buffer.from(`${[line, ...lines].join('\r\n')}\r\n\r\n`)
}

test('the upgrade request', () => {
  const bytes = request()
  for (let end = 0; end < bytes.length; end++) assert.equal(readUpgrade(bytes, 0, end), undefined)
  const upgrade = readUpgrade(Buffer.concat([bytes, Buffer.from([0x82])]), 0, bytes.length + 1)!
  assert.equal(upgrade.requestBytes, bytes.length)
  const text = Buffer.from(upgrade.response).toString()
  assert.match(text, /^HTTP\/1\.1 101 /)
  // The example of RFC 6455 section 1.3.
  assert.match(text, /\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/)
  assert.match(text, /\r\nSec-WebSocket-Protocol: mqtt\r\n/)

  const status = (changes: Record<string, string | undefined>, line?: string) => {
    const head = request(changes, line)
    const answer = readUpgrade(head, 0, head.length)!
    assert.match(
      Buffer.from(answer.response).toString(),
      new RegExp(`^HTTP/1\\.1 ${answer.status} .*Connection: close\r\n\r\n.+\n$`, 's'),
    )
    return answer.status
  }
  assert.equal(status({}, 'GET / HTTP/1.1'), 404)
  assert.equal(status({}, 'POST /mqtt HTTP/1.1'), 400)
  assert.equal(status({}, 'GET /mqtt HTTP/1.0'), 400)
  assert.equal(status({}, '\u0010\u0000MQTT'), 400)
  assert.equal(status({ Upgrade: undefined }), 426)
  assert.equal(status({ Connection: 'close' }), 426)
  assert.equal(status({ 'Sec-WebSocket-Version': '8' }), 426)
  assert.equal(status({ 'Sec-WebSocket-Key': 'short' }), 400)
  assert.equal(status({ 'Sec-WebSocket-Protocol': undefined }), 400)
  assert.equal(status({ 'bad header': 'x' }), 400)
  assert.equal(status({ Cookie: 'x'.repeat(9000) }), 431)
  const endless = new Uint8Array(9000).fill(0x61)
  assert.equal(readUpgrade(endless, 0, endless.length)!.status, 431)
})

test('frames of ours, and a whole exchange with the WebSocket of Node', async () => {
  for (const size of [0, 125, 126, 65_535, 65_536]) {
    const bytes = new Uint8Array(16)
    assert.equal(writeFrameHeader(bytes, 3, size), 3 + frameHeaderBytes(size))
  }
  const received: Uint8Array[] = []
  const pongs: string[] = []
  const server = net.createServer((socket) => {
    const recorder = new Recorder(65_536, 4)
    const reader = new WebSocketReader(
      {
        onWsPing: (payload) => pongs.push(Buffer.from(payload).toString()),
        onWsClose: (status) => {
          const out = new Uint8Array(4)
          socket.end(out.subarray(0, writeClose(out, 0, status)))
        },
      },
      recorder.parser,
      1 << 20,
    )
    let opened = false
    socket.on('data', (data: Buffer) => {
      let at = 0
      if (!opened) {
        const upgrade = readUpgrade(data, 0, data.length)!
        socket.write(upgrade.response)
        opened = true
        at = upgrade.requestBytes
      }
      const seen = recorder.events.length
      reader.read(data, at, data.length)
      for (const event of recorder.events.slice(seen)) {
        if (event.event !== 'publish') continue
        const payload = Buffer.from(event['payload'] as string, 'hex')
        const out = new Uint8Array(payload.length + 16)
        const p = writeFrameHeader(out, 0, payload.length)
        out.set(payload, p)
        socket.write(out.subarray(0, p + payload.length))
        const pong = new Uint8Array(8)
        socket.write(pong.subarray(0, writePong(pong, 0, Buffer.from('hi'))))
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const socket = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, 'mqtt')
  socket.binaryType = 'arraybuffer'
  await once(socket, 'open')
  assert.equal(socket.protocol, 'mqtt')
  for (const size of [10, 1000, 100_00]) {
    const payload = Buffer.alloc(size, size)
    socket.send(encode([{ cmd: 'publish', topic: 'a', payload, qos: 0, dup: false, retain: false }], 4))
    const [event] = (await once(socket, 'message')) as [MessageEvent]
    received.push(new Uint8Array(event.data as ArrayBuffer))
    assert.deepEqual(received.at(-1), new Uint8Array(payload))
  }
  socket.close(3001)
  const [closed] = (await once(socket, 'close')) as [CloseEvent]
  assert.equal(closed.code, 3001)
  assert.equal(closed.wasClean, true)
  server.close()
})
