// Case: QoS 1 over WebSocket, 8 connections with 1,024 messages in flight
//
// As tcp-qos1-8x1024, which the same server gets by turns.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'ws-qos1-8x1024',
  load: { qos: 1, connections: 8, window: 1024 },
  webSocket: true,
  baseline: { case: 'tcp-qos1-8x1024', load: { qos: 1, connections: 8, window: 1024 } },
}

if (import.meta.main) await brokerMain(definition)
