// Case: QoS 1 over TCP, 8 connections with 64 messages in flight
//
// 512 messages in flight over the time of one commit are the ceiling of a broker that syncs before it acknowledges; the
// peers acknowledge from memory. What counts beside the rate is the CPU of a message.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'tcp-qos1-8x64',
  load: { qos: 1, connections: 8, window: 64 },
  cpuRatio: ['flashmq'],
}

if (import.meta.main) await brokerMain(definition)
