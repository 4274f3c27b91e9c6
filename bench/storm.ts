// Opens connections all at once, as a fleet does after a power cut, and says when all are accepted.
// `storm.ts HOST PORT COUNT`; on stdout one line of JSON, and the end on SIGTERM.
import net from 'node:net'
import mqttPacket from 'mqtt-packet'
import { round } from './harness.ts'

const [, , host, port, count] = process.argv
const CONNACK = 0x20

const started = performance.now()
const times: number[] = []
let refused = 0

function finished(): void {
  if (times.length + refused < Number(count)) return
  const at = (part: number) =>
    round(times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? 0, 1)
  const figures = { accepted: times.length, refused, halfMs: at(0.5), mostMs: at(0.99), allMs: at(1) }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
}

for (let i = 0; i < Number(count); i++) {
  const connect = mqttPacket.generate({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clientId: `storm-${i}`,
    clean: true,
    keepalive: 0,
  })
  const socket = net.connect({ host: host!, port: Number(port), noDelay: true })
  let answered = false
  const fail = (): void => {
    if (!answered) refused++
    answered = true
    finished()
  }
  socket.on('connect', () => socket.write(connect))
  socket.once('data', (bytes: Buffer) => {
    answered = true
    if (bytes[0] === CONNACK && bytes[3] === 0) times.push(performance.now() - started)
    else refused++
    finished()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    if (!answered) fail()
  })
}
process.once('SIGTERM', () => process.exit(0))
