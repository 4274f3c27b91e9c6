// The peer aedes (npm): an MQTT broker in JavaScript, in a process of its own, at its defaults with Nagle off.
// `peer-aedes.ts PORT`
import net from 'node:net'
import { Aedes } from 'aedes'

const broker = await Aedes.createBroker()
net.createServer({ noDelay: true }, broker.handle).listen(Number(process.argv[2]), '127.0.0.1')
