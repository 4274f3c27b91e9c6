// Case: two ingest workers on two cores, 64 connections with 128 messages in flight
//
// The generator shares the two cores with the server: what the machine takes in as a whole, not what two cores of
// a server could. The threads' CPU says what was left for whom.
import { type BrokerCase, brokerMain } from './broker-case.ts'

export const definition: BrokerCase = {
  name: 'two-workers',
  load: { qos: 1, connections: 64, window: 128 },
  allCores: true,
  peers: false,
  serverArgs: () => ['--workers', '2'],
}

if (import.meta.main) await brokerMain(definition)
