// Case: fan-in: a fleet of connections, each one QoS 1 message a second, one PUBLISH in a segment
//
// 50,000 devices × 1/s, scaled to the machine: 2,500 for each core, as far as descriptors go. An open loop: CPU of the
// server per message and latency from the intended time of sending are what is compared, the rate is given. Every run
// opens all of them anew, which takes longer than the run: more of them would leave no time for several runs of five
// brokers.
import os from 'node:os'
import { type BrokerCase, brokerMain } from './broker-case.ts'
import { fileDescriptorsMax } from './processes.ts'

const CONNECTIONS_MAX = 50_000
const CONNECTIONS_PER_CORE = 2_500
/** Descriptors that a process needs beside its connections. */
const OTHER_FILES = 500

const connections = Math.min(
  CONNECTIONS_MAX,
  CONNECTIONS_PER_CORE * os.availableParallelism(),
  fileDescriptorsMax() - OTHER_FILES,
)

export const definition: BrokerCase = {
  name: 'fan-in',
  load: { qos: 1, connections, window: 4, unbatched: true, rate: connections },
  smokeConnections: 200,
  openingSeconds: 1.5,
  countDevices: true,
  cpuRatio: ['aedes', 'mosquitto', 'mosquitto-2.1', 'flashmq'],
}

if (import.meta.main) await brokerMain(definition)
