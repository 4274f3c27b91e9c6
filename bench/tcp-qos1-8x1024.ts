// Case: QoS 1 over TCP, 8 connections with 1,024 messages in flight, acknowledged after fsync
//
// The most that one core takes in with PUBACKs: reads full of PUBLISH packets, large groups in the log.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'tcp-qos1-8x1024',
  load: { qos: 1, connections: 8, window: 1024 },
}

if (import.meta.main) await brokerMain(definition)
