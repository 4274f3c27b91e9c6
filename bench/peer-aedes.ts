// The peer aedes (npm): an MQTT broker in JavaScript, in a process of its own, at its defaults with Nagle off.
// `peer-aedes.ts mqtt|ws`; writes its port and its version to stdout.
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { Aedes } from 'aedes'
import { createWebSocketStream, WebSocketServer } from 'ws'

const broker = await Aedes.createBroker()
const webSocket = process.argv[2] === 'ws'
const server = webSocket ? http.createServer() : net.createServer({ noDelay: true }, broker.handle)
if (webSocket)
  new WebSocketServer({ server: server as http.Server, perMessageDeflate: false }).on(
    'connection',
    (socket, request) => {
      request.socket.setNoDelay(true)
      broker.handle(createWebSocketStream(socket), request)
    },
  )
const { version } = JSON.parse(
  fs.readFileSync(new URL('package.json', import.meta.resolve('aedes')), 'utf8'),
) as { version: string }
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as net.AddressInfo).port} ${version}\n`)
})
