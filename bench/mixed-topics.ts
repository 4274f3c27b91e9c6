// Case: 8 gateways at QoS 1, each publishing for 1,000 devices on 3 streams in random order
//
// 24,000 topics, each message on another one: what a connection remembers of a topic, and batches of many partitions
// at once, are what is measured. The gateways have credentials that name their devices. tcp-qos1-8x1024 runs
// on the same server by turns.
import fs from 'node:fs'
import path from 'node:path'
import { hashPassword } from '../identity/identity-secret.ts'
import { type BrokerCase, brokerMain } from './broker-case.ts'
import { ENVIRONMENT_CONTRACT } from './payloads.ts'

const GATEWAYS = 8
const PASSWORD = 'bench'
/** Families with one stream each, of the fields of the environment contract. */
const FURTHER_STREAMS = ['corridor', 'basement']
const LOGIN = { username: 'default/{client}', password: PASSWORD }

async function serverArgs(folder: string): Promise<readonly string[]> {
  const environment = fs.readFileSync(ENVIRONMENT_CONTRACT, 'utf8')
  const contracts = path.join(folder, 'contracts')
  fs.mkdirSync(contracts)
  for (const name of FURTHER_STREAMS)
    fs.writeFileSync(
      path.join(contracts, `${name}.yaml`),
      environment
        .replace('family: environment', `family: ${name}`)
        .replace(/^ {2}telemetry:$/m, `  ${name}:`),
    )
  const hash = await hashPassword(PASSWORD)
  const credentials = Array.from({ length: GATEWAYS }, (_, i) => ({
    tenant: 'default',
    gateway: `bench-${i}`,
    devices: [`bench-${i}-*`, `bench-${i}`],
    hash,
  }))
  const file = path.join(folder, 'credentials.yaml')
  // JSON is YAML.
  fs.writeFileSync(file, JSON.stringify({ credentials }))
  return ['--contracts', contracts, '--credentials', file]
}

export const definition: BrokerCase = {
  name: 'mixed-topics',
  load: {
    qos: 1,
    connections: GATEWAYS,
    window: 1024,
    devices: 1000,
    streams: ['telemetry', ...FURTHER_STREAMS],
    ...LOGIN,
  },
  baseline: {
    case: 'tcp-qos1-8x1024',
    load: { qos: 1, connections: GATEWAYS, window: 1024, ...LOGIN },
  },
  serverArgs,
}

if (import.meta.main) await brokerMain(definition)
