// Case (kafka): normalize on a real broker, exactly once: raw → normalized in transactions, passed on whole
//
// Outputs, positions and state of a step are one transaction; the next step is read meanwhile. The same with records
// that are rewritten stands in the notes.
import { randomUUID } from 'node:crypto'
import { openKafkaLog } from '../log/log-kafka.ts'
import { type CaseArguments, type CaseResult, caseMain, round } from './harness.ts'
import { BenchKafka } from './kafka-broker.ts'
import { type NormalizePlace, runNormalizeCase } from './normalize-case.ts'

async function run(args: CaseArguments): Promise<CaseResult> {
  const kafka = await BenchKafka.start()
  let places = 0
  const open = async (): Promise<NormalizePlace> => {
    const options = { ...kafka.options(randomUUID()), prefix: `run${places++}.` }
    const log = await openKafkaLog(options, 'bench')
    return { log, references: false, close: () => log.close() }
  }
  kafka.cpu()
  const name = 'normalize-kafka'
  const passed = await runNormalizeCase({ name, firmware: '1.2.0', counted: 'records_passed' }, args, open)
  const brokerUs = brokerCpu(kafka, passed)
  const rewritten = await runNormalizeCase(
    { name, firmware: '2.2.0', counted: 'records_rewritten' },
    args,
    open,
  )
  const brokerRewrittenUs = brokerCpu(kafka, rewritten)
  await kafka.stop()
  return {
    ...passed,
    verified: `${passed.verified}; and ${rewritten.verified}`,
    notes: [
      ...(passed.notes ?? []),
      `the broker, on the other core, used ${brokerUs} µs of CPU for a record to come, to be read and to come back passed on, and ${brokerRewrittenUs} rewritten`,
      `rewritten: ${rewritten.median} records/s (${rewritten.min} to ${rewritten.max}), ${rewritten.cpuUsPerMessage} µs CPU each`,
    ],
  }
}

/** CPU µs of the broker since the last call, by the records that the case had. */
function brokerCpu(kafka: BenchKafka, { verified }: CaseResult): number {
  return round((kafka.cpu() * 1e6) / Number.parseInt(verified, 10), 2)
}

if (import.meta.main) await caseMain(run, 3, 3)
