// Case: QoS 1 over TCP, 1,000 connections, one message in flight each, one PUBLISH in a segment
//
// Nothing can be batched by the sender: one read and one write of a socket for each message, so that system calls
// dominate in every broker. The generator needs a core for itself here and may be the limit: CPU is what is compared.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'unbatched-1000',
  load: { qos: 1, connections: 1000, window: 1, unbatched: true },
  smokeConnections: 50,
  cpuRatio: ['mosquitto', 'mosquitto-2.1', 'flashmq'],
}

if (import.meta.main) await brokerMain(definition)
