// Case: 8 gateways at QoS 1, each publishing for 1,000 devices on 3 streams in random order
//
// 24,000 topics, each message on another one: what a connection remembers of a topic, and batches of many partitions
// at once, are what is measured. The gateways have credentials that name their devices. tcp-qos1-8x1024 runs
// on the same server by turns.
import { type BrokerCase, brokerMain } from './broker-case.ts'
import { GATEWAY_LOGIN, gatewayArgs } from './gateways.ts'

const GATEWAYS = 8
/** Families with one stream each, of the fields of the environment contract. */
const FURTHER_STREAMS = ['corridor', 'basement']

export const definition: BrokerCase = {
  name: 'mixed-topics',
  load: {
    qos: 1,
    connections: GATEWAYS,
    window: 1024,
    devices: 1000,
    streams: ['telemetry', ...FURTHER_STREAMS],
    ...GATEWAY_LOGIN,
  },
  baseline: {
    case: 'tcp-qos1-8x1024',
    load: { qos: 1, connections: GATEWAYS, window: 1024, ...GATEWAY_LOGIN },
  },
  serverArgs: (folder) => gatewayArgs(folder, GATEWAYS, FURTHER_STREAMS),
}

if (import.meta.main) await brokerMain(definition)
