// The generator against a server that looks at every message: valid, none twice, in order of their device.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import { after, before, test } from 'node:test'
import avsc from 'avsc'
import { writeConnack, writePuback } from '../ingest/mqtt-encode.ts'
import { decodeConnect } from '../ingest/mqtt-packets.ts'
import { CLOSE, CONTINUE, MqttParser, type PacketHandler } from '../ingest/mqtt-parser.ts'
import { WebSocketReader, writeFrameHeader } from '../ingest/websocket.ts'
import { readUpgrade } from '../ingest/websocket-upgrade.ts'
import { environmentStream } from './environment-stream.ts'

const type = avsc.Type.forSchema(JSON.parse(environmentStream(3).schema))

/** What one connection of the generator talks to. */
class Server implements PacketHandler {
  readonly parser = new MqttParser(this, 1 << 16)
  readonly out = new Uint8Array(1 << 16)
  at = 0
  publishes = 0
  /** PUBLISH packets that came in one read, at most. */
  inOneRead = 0
  readonly lastSequence = new Map<string, number>()
  readonly username: string[] = []

  onConnect(bytes: Uint8Array, start: number, end: number): number {
    const connect = decodeConnect(bytes, start, end)
    assert.ok(!('reason' in connect))
    this.parser.level = connect.level
    this.username.push(`${connect.clientId} ${connect.username}`)
    this.at = writeConnack(this.out, this.at, connect.level, false, 0, { receiveMaximum: 40 })
    return CONTINUE
  }

  onPublish(
    bytes: Uint8Array,
    _flags: number,
    topicStart: number,
    topicEnd: number,
    packetId: number,
    _propertiesStart: number,
    _propertiesEnd: number,
    payloadStart: number,
    payloadEnd: number,
  ): number {
    const topic = Buffer.from(bytes.subarray(topicStart, topicEnd)).toString()
    assert.match(topic, /^devices\/load-\d(-\d)?\/telemetry$/)
    const payload = Buffer.from(bytes.subarray(payloadStart, payloadEnd))
    const isJson = payload[0] === 0x7b
    if (!isJson) assert.equal(payload.readUInt32BE(1), 3)
    const value = isJson ? JSON.parse(payload.toString()) : type.fromBuffer(payload.subarray(5))
    assert.ok(Math.abs(value.event_time / 1000 - Date.now()) < 60_000)
    assert.ok(value.seq > (this.lastSequence.get(topic) ?? 0))
    this.lastSequence.set(topic, value.seq)
    this.publishes++
    if (packetId > 0) this.at = writePuback(this.out, this.at, this.parser.level, packetId, 0)
    return CONTINUE
  }

  onPing(): number {
    this.out.set([0xd0, 0], this.at)
    this.at += 2
    return CONTINUE
  }
  onPuback(): number {
    return CLOSE
  }
  onSubscribe(): number {
    return CLOSE
  }
  onUnsubscribe(): number {
    return CLOSE
  }
  onDisconnect(): number {
    return CLOSE
  }
  onMalformed(reason: number, message: number): void {
    assert.fail(`malformed ${reason} ${message}`)
  }
}

const servers: Server[] = []
let listener: net.Server
let port: number

before(async () => {
  listener = net.createServer({ noDelay: true }, (socket) => {
    const server = new Server()
    servers.push(server)
    let reader: WebSocketReader | undefined
    socket.on('data', (data: Buffer) => {
      const before = server.publishes
      if (reader === undefined && server.parser.level === 0 && data[0] === 0x47) {
        socket.write(readUpgrade(data, 0, data.length)!.response)
        reader = new WebSocketReader({ onWsPing: () => {}, onWsClose: () => {} }, server.parser, 1 << 20)
        return
      }
      if (reader === undefined) server.parser.parse(data, 0, data.length)
      else reader.read(data, 0, data.length)
      server.inOneRead = Math.max(server.inOneRead, server.publishes - before)
      if (server.at === 0) return
      if (reader !== undefined) {
        const header = new Uint8Array(14)
        socket.write(header.subarray(0, writeFrameHeader(header, 0, server.at)))
      }
      socket.write(server.out.slice(0, server.at))
      server.at = 0
    })
    socket.on('error', () => {})
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  port = (listener.address() as net.AddressInfo).port
})

after(() => listener.close())

async function generate(scheme: string, ...args: string[]): Promise<Record<string, unknown>> {
  return generateTo(port, scheme, ...args)
}

async function generateTo(port: number, scheme: string, ...args: string[]): Promise<Record<string, unknown>> {
  servers.length = 0
  const file = path.join(import.meta.dirname, 'generator.ts')
  const child = spawn(
    process.execPath,
    [file, '--url', `${scheme}://127.0.0.1:${port}`, '--prefix', 'load', '--stream', 'telemetry:3', ...args],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let text = ''
  child.stdout.on('data', (data) => (text += data))
  const [code] = await once(child, 'close')
  assert.equal(code, 0)
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  return lines.at(-1)
}

const sum = () => servers.reduce((total, server) => total + server.publishes, 0)

for (const scheme of ['mqtt', 'ws'])
  for (const [level, qos, payload] of [
    ['4', '1', 'avro'],
    ['5', '1', 'json'],
    ['5', '0', 'avro'],
  ] as const)
    test(`${scheme}, level ${level}, QoS ${qos}, ${payload}`, async () => {
      const report = await generate(
        scheme,
        ...['--level', level, '--qos', qos, '--payload', payload, '--connections', '2', '--messages', '3000'],
        ...['--username', 'u-{client}', '--devices', qos === '0' ? '3' : '1'],
      )
      assert.equal(report['event'], 'report')
      assert.equal(report['sent'], 3000)
      assert.equal(sum(), 3000)
      assert.deepEqual(servers.flatMap((server) => server.username).sort(), [
        'load-0 u-load-0',
        'load-1 u-load-1',
      ])
      if (qos === '1') {
        assert.equal(report['acknowledged'], 3000)
        assert.equal(report['disordered'], 0)
        // MQTT 5: no more than the server's Receive Maximum.
        if (level === '5') for (const server of servers) assert.ok(server.inOneRead <= 40)
      }
    })

for (const scheme of ['mqtt', 'ws'])
  test(`${scheme}, QoS 0, one message a write: the next one goes when the kernel has the last`, {
    timeout: 30_000,
  }, async () => {
    const report = await generate(
      scheme,
      ...['--qos', '0', '--unbatched', '--connections', '2', '--messages', '300'],
    )
    assert.equal(report['sent'], 300)
    assert.equal(sum(), 300)
  })

test('open loop keeps its rate, one message a write', async () => {
  const report = await generate(
    'mqtt',
    ...['--rate', '2000', '--unbatched', '--seconds', '0.5', '--warmup', '0.1', '--connections', '3'],
  )
  const rate = report['messagesPerSecond'] as number
  assert.ok(rate > 1500 && rate < 2500, `${rate}`)
  const latency = report['latencyMs'] as Record<string, number>
  assert.ok(latency['p50']! <= latency['p99']! && latency['p99']! <= latency['max']!)
})

test('a connection that the server closes under a flood is told, and the others go on to the end', {
  timeout: 30_000,
}, async (t) => {
  let accepted = 0
  const closing = net.createServer((socket) => {
    const isFirst = accepted++ === 0
    let isConnected = false
    socket.on('error', () => {})
    socket.on('data', () => {
      if (isConnected && isFirst) socket.destroy()
      // CONNACK, and then an answer to whatever may be a ping.
      socket.write(isConnected ? Uint8Array.of(0xd0, 0) : Uint8Array.of(0x20, 2, 0, 0))
      isConnected = true
    })
  })
  closing.listen(0, '127.0.0.1')
  await once(closing, 'listening')
  t.after(() => closing.close())
  const report = await generateTo(
    (closing.address() as net.AddressInfo).port,
    'mqtt',
    ...['--level', '4', '--qos', '0', '--connections', '2', '--seconds', '0.3', '--warmup', '0'],
  )
  assert.equal(report['event'], 'report')
  assert.equal(report['closedByServer'], 1)
})
