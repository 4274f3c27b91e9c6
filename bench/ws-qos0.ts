// Case: QoS 0 over WebSocket, 8 connections, full frames
//
// As tcp-qos0, with every payload byte unmasked first; beside it tcp-qos0 on the same server.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'ws-qos0',
  load: { qos: 0, connections: 8 },
  webSocket: true,
  leftOut: {
    aedes:
      'under a flood of frames it closes connections with "Invalid header flag bits" (1.2.0 over ws 8.23)',
  },
  baseline: { case: 'tcp-qos0', load: { qos: 0, connections: 8 } },
}

if (import.meta.main) await brokerMain(definition)
