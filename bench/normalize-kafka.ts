// Case (kafka): normalize on a real broker, exactly once: raw → normalized in transactions, passed on whole
//
// Outputs, positions and state of a step are one transaction; the next step is read meanwhile. The same with records
// that are rewritten stands in the table.
import { randomUUID } from 'node:crypto'
import { openKafkaLog } from '../log/log-kafka.ts'
import { type CaseArguments, caseMain } from './harness.ts'
import { BenchKafka } from './kafka-broker.ts'
import { type NormalizePlace, runNormalizeCase } from './normalize-case.ts'
import type { CaseResult } from './result.ts'

/** Some transactions: the first and the last of a backlog overlap with nothing. */
const CHUNK_RECORDS = 1_000_000

async function run(args: CaseArguments): Promise<CaseResult> {
  const kafka = await BenchKafka.start()
  let places = 0
  const open = async (): Promise<NormalizePlace> => {
    const options = { ...kafka.options(randomUUID()), prefix: `run${places++}.` }
    const log = await openKafkaLog(options, 'bench')
    return {
      log,
      references: false,
      chunkRecords: CHUNK_RECORDS,
      brokerCpu: () => kafka.cpu(),
      close: () => log.close(),
    }
  }
  const name = 'normalize-kafka'
  const passed = await runNormalizeCase({ name, firmware: '1.2.0', counted: 'records_passed' }, args, open)
  const rewritten = await runNormalizeCase(
    { name, firmware: '2.2.0', counted: 'records_rewritten' },
    args,
    open,
  )
  await kafka.stop()
  return {
    ...passed,
    verified: `${passed.verified}; and ${rewritten.verified}`,
    tables: [
      {
        title: 'What is done with the records',
        columns: ['records', 'records/s', 'CPU µs', 'broker µs'],
        rows: [row('passed on', passed), row('rewritten', rewritten)],
      },
    ],
  }
}

const row = (what: string, one: CaseResult): (string | number)[] => [
  what,
  one.median,
  one.cpuUsPerMessage,
  one.brokerUsPerMessage!,
]

if (import.meta.main) await caseMain(run, 3, 3)
