// Case: QoS 0 over TCP, 8 connections, full segments, counted when durable
//
// The most that one core takes in without PUBACKs. Nothing slows the sender but TCP: the server reads as fast as
// the log writes.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'tcp-qos0',
  load: { qos: 0, connections: 8 },
}

if (import.meta.main) await brokerMain(definition)
