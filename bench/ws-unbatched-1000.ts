// Case: QoS 1 over WebSocket, 1,000 connections, one message in flight each, one PUBLISH in a frame
//
// As unbatched-1000, which the same server gets by turns.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'ws-unbatched-1000',
  load: { qos: 1, connections: 1000, window: 1, unbatched: true },
  webSocket: true,
  smokeConnections: 50,
  baseline: { case: 'unbatched-1000', load: { qos: 1, connections: 1000, window: 1, unbatched: true } },
  cpuRatio: ['mosquitto', 'mosquitto-2.1', 'flashmq'],
}

if (import.meta.main) await brokerMain(definition)
