// Case (kafka): 1, 2 and 4 processes that share normalize and sink: CPU per record must not grow with them
//
// All have this machine's two cores and the broker, so more of them are not faster here; what is shown is that the
// work of a record stays what it is when it is shared: the groups, the transactions and the commits of more writers.
// Each process has dealt with some records before: until its code is compiled a record costs several times as much, which
// would count for each process anew.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openKafkaLog } from '../log/log-kafka.ts'
import { type CaseArguments, caseMain, caseResult, type Run, round, summarise } from './harness.ts'
import { BenchKafka } from './kafka-broker.ts'
import { Fleet } from './normalize-case.ts'
import { cpuSeconds, removeFolder, temporaryFolder } from './processes.ts'
import type { CaseResult } from './result.ts'
import { BenchServer } from './server.ts'

const INSTANCES = [1, 2, 4]
const RECORDS = 1_200_000
const RECORDS_SMOKE = 20_000
/** Before the clock starts, for each process. */
const WARM_RECORDS = 300_000
const WARM_RECORDS_SMOKE = 5000
const START_MS_MAX = 90_000
const SETTLE_MS = 3000
const POLL_MS = 50
/** Of the first records: a fleet's clock is ahead of its receive time by the records of a run. */
const FLEET_AGE_MS = 3_600_000
const RAW = 'default.telemetry.raw'

async function run(args: CaseArguments): Promise<CaseResult> {
  const kafka = await BenchKafka.start()
  const records = args.smoke ? RECORDS_SMOKE : RECORDS
  const rows: (string | number)[][] = []
  const runs: Run[] = []
  for (const count of INSTANCES) {
    const warm = count * (args.smoke ? WARM_RECORDS_SMOKE : WARM_RECORDS)
    const one = await share(kafka, count, warm, records, args.seed)
    runs.push(one)
    rows.push([count, Math.round(records / one.seconds), round((one.cpuSeconds * 1e6) / records, 3)])
  }
  await kafka.stop()
  const perRecord = rows.map((row) => row[2] as number)
  const spread = round(Math.max(...perRecord) / perRecord[0]!, 2)
  return {
    ...caseResult(
      'scale-out',
      args,
      'records/s',
      summarise(runs),
      `${records} raw records = rows in the tables, with each number of processes`,
      [],
    ),
    tables: [
      {
        title: 'Processes of normalize and sink',
        columns: ['processes', 'records/s in all', 'CPU µs per record'],
        rows,
      },
    ],
    notes: [`CPU per record with the most processes over that with one: at most ${spread}`],
  }
}

async function share(
  kafka: BenchKafka,
  count: number,
  warm: number,
  records: number,
  seed: number,
): Promise<Run> {
  const folder = temporaryFolder()
  const prefix = `s${count}.`
  const args = [
    ...['--log', `kafka://${kafka.brokers.bootstrap}`, '--log-kafka-prefix', prefix],
    ...[
      '--catalog',
      `sqlite:${path.join(folder, 'catalog.db')}`,
      '--warehouse',
      path.join(folder, 'warehouse'),
    ],
    ...['--sink-encoders', '0'],
  ]
  const options = { roles: 'normalize,sink', args, core: null, startMsMax: START_MS_MAX }
  const servers: BenchServer[] = []
  for (let i = 0; i < count; i++) servers.push(await BenchServer.start(options))
  // Each has its share before there is something to do.
  await sleep(SETTLE_MS)
  const log = await openKafkaLog({ ...kafka.options(randomUUID()), prefix }, 'fleet')
  const schemaId = servers[0]!.schemaIds.get('telemetry')!
  // The topics have Millrace's own retention, by age: records of long ago would be gone before they are read.
  const fleet = new Fleet(seed, '1.2.0', 4, schemaId, Date.now() - FLEET_AGE_MS)
  const send = async (count: number): Promise<void> => {
    for (let sent = 0; sent < count; sent += count / 10) await fleet.send(log, RAW, count / 10)
  }
  await send(warm)
  await rowsReach(servers, warm)
  const cpuBefore = servers.map(({ process }) => cpuSeconds(process.pid))
  const started = performance.now()
  await send(records)
  await rowsReach(servers, warm + records)
  const seconds = (performance.now() - started) / 1000
  const cpu = servers.reduce((sum, { process }, i) => sum + cpuSeconds(process.pid) - cpuBefore[i]!, 0)
  await log.close()
  await Promise.all(servers.map((server) => server.stop()))
  for (const server of servers) server.removeData()
  removeFolder(folder)
  return { messages: records, seconds, cpuSeconds: cpu }
}

/** Waits until so many rows are in the table, and not one more. */
async function rowsReach(servers: readonly BenchServer[], count: number): Promise<void> {
  for (;;) {
    const committed = await Promise.all(servers.map(rowsOf))
    const rows = committed.reduce((sum, one) => sum + one, 0)
    if (rows === count) return
    if (rows > count) throw new Error(`${count} records were sent, ${rows} rows are in the table`)
    // To be asked costs the processes CPU: together as much as one would have of it.
    await sleep(POLL_MS * servers.length)
  }
}

async function rowsOf({ http }: BenchServer): Promise<number> {
  const status = (await (await fetch(`${http}/v1/status`)).json()) as { rowsCommitted: number }
  return status.rowsCommitted
}

if (import.meta.main) await caseMain(run, 1, 1)
