// `make kafka-up [BROKERS=3]` and `make kafka-down`: brokers that stay until they are taken down. Their ids and
// folder are noted in .interop/kafka/running.json; only what is noted there is ended.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { KAFKA_CACHE, kafkaMissing, startKafka } from './broker.ts'

const RUNNING = join(KAFKA_CACHE, 'running.json')

interface Running {
  pids: number[]
  folder: string
  bootstrap: string
}

function readRunning(): Running | undefined {
  return existsSync(RUNNING) ? (JSON.parse(readFileSync(RUNNING, 'utf8')) as Running) : undefined
}

/** Whether that process is one of ours still: process ids are used again by the system. */
function isBroker(pid: number, folder: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder)
  } catch {
    return false
  }
}

async function up(brokers: number): Promise<void> {
  const running = readRunning()
  if (running?.pids.some((pid) => isBroker(pid, running.folder)))
    return console.log(`already running on ${running.bootstrap}`)
  const started = await startKafka({ brokers, detached: true })
  mkdirSync(KAFKA_CACHE, { recursive: true })
  const { pids, folder, bootstrap } = started
  writeFileSync(RUNNING, JSON.stringify({ pids, folder, bootstrap } satisfies Running))
  console.log(`Kafka answers on ${bootstrap}; data and output in ${folder}; \`make kafka-down\` ends it`)
}

function down(): void {
  const running = readRunning()
  if (running === undefined) {
    console.log('no Kafka of ours is running')
    return
  }
  for (const pid of running.pids) if (isBroker(pid, running.folder)) process.kill(pid, 'SIGKILL')
  rmSync(running.folder, { recursive: true, force: true })
  rmSync(RUNNING)
  console.log(`ended ${running.pids.length} broker(s), removed ${running.folder}`)
}

const { values, positionals } = parseArgs({
  options: { brokers: { type: 'string', default: '1' } },
  allowPositionals: true,
})
const brokers = Number(values.brokers)
const missing = kafkaMissing()
if (positionals[0] === 'down') down()
else if (positionals[0] !== 'up' || ![1, 3].includes(brokers)) {
  console.error('usage: up.ts up [--brokers 1|3] | down')
  process.exitCode = 2
} else if (missing !== undefined) {
  console.error(missing)
  process.exitCode = 1
} else {
  await up(brokers)
  // The brokers are on their own now.
  process.exit(0)
}
