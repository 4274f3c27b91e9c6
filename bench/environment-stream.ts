// The shipped environment contract, compiled. A file of its own: the load generator starts for each run, and knows the
// payloads only.
import fs from 'node:fs'
import path from 'node:path'
import { compileContract, parseContract } from '../schemas/contract.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'

const PARTITIONS = 4
export const ENVIRONMENT_CONTRACT = path.join(import.meta.dirname, '../contracts/environment.yaml')

/** The stream `telemetry` of contracts/environment.yaml, with a schema id as the registry would hand out. */
export function environmentStream(schemaId: number): StreamDescriptor {
  const text = fs.readFileSync(ENVIRONMENT_CONTRACT, 'utf8')
  const [compiled] = compileContract(parseContract(text, ENVIRONMENT_CONTRACT))
  return {
    ...compiled!,
    partitions: PARTITIONS,
    schemaId,
    writers: [{ id: schemaId, schema: compiled!.schema }],
  }
}
