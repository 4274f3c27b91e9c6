// Case: JSON payloads at QoS 1, validated and encoded to Avro, 8 connections with 1,024 in flight
//
// About 170 bytes of JSON a message, checked against the same schema and stored as the same Avro. The peers get the
// same bytes and look at none of them.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'json-qos1',
  load: { qos: 1, connections: 8, window: 1024, payload: 'json' },
}

if (import.meta.main) await brokerMain(definition)
