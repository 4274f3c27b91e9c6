// Case: QoS 1 over TCP, 100 connections with 16 messages in flight
//
// Many connections with a little each: reads and writes of a socket carry few messages, and cost more of them.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'tcp-qos1-100x16',
  load: { qos: 1, connections: 100, window: 16 },
  cpuRatio: ['flashmq'],
}

if (import.meta.main) await brokerMain(definition)
