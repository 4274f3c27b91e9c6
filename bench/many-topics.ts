// Case: many topics: 100 gateways at QoS 1, each publishing for 1,000 devices in random order
//
// 100,000 topics, each message on another one than the last: most are in no cache of the processor, and in none of
// the connection's. tcp-qos1-100x16, one topic on each connection, runs on the same server by turns.
import { type BrokerCase, brokerMain } from './broker-case.ts'
import { GATEWAY_LOGIN, gatewayArgs } from './gateways.ts'

const GATEWAYS = 100
const DEVICES = 1000
const LOAD = { qos: 1, connections: GATEWAYS, window: 16, ...GATEWAY_LOGIN } as const

export const definition: BrokerCase = {
  name: 'many-topics',
  load: { ...LOAD, devices: DEVICES },
  smokeConnections: 4,
  baseline: { case: 'tcp-qos1-100x16', load: LOAD },
  countDevices: true,
  serverArgs: (folder) => gatewayArgs(folder, GATEWAYS, []),
}

if (import.meta.main) await brokerMain(definition)
