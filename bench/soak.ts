// Case (long): ten minutes at half of the saturated rate: memory, stalls, latency, garbage collection
//
// The load of latency-half in ten stretches of --seconds / 10 each, after two that are not judged: in the first minutes a log
// has not reached its retention yet, and has nothing to remove. The server's threads say how long their event loops
// were busy (watch-threads.ts), and another connection sends a PINGREQ every 10 ms, which the event loop answers without
// the log: what a device sees of a stall. RSS is read after each stretch. The case fails when memory grows, when a
// thread that serves connections stalls for longer than 50 ms, and when the p99 of PUBACK is neither stable nor what the waits
// of the log thread for the disk make of it (soak-verdict.ts).
import { latencyOf, OurSide } from './broker-case.ts'
import { type CaseArguments, caseArguments, caseResult, printResult, round, summarise } from './harness.ts'
import { Pinger } from './pinger.ts'
import { pinning, residentBytes, stealSeconds } from './processes.ts'
import type { CaseResult } from './result.ts'
import { diskP99, p99Text, type Soak, soakProblems } from './soak-verdict.ts'
import { ThreadWatch, type Watched } from './thread-watch.ts'

const LOAD = { qos: 1, connections: 8, window: 1024 } as const
const STRETCHES = 10
const STRETCHES_SMOKE = 4
const SETTLING = 2
const SATURATION_SECONDS = 3
/**
 * Of a partition; about 1 GiB in all, because a segment goes when the partition with the fewest records has let go of it. The log
 * of ten minutes would not fit on every disk; its end says how many records there were.
 */
const RETENTION_BYTES = 128 << 20

function threadText(one: Watched): string {
  const mebibytes = (bytes: number): number => round(bytes / 2 ** 20, 1)
  return [
    `${one.thread}: longest stall ${round(one.stallMs, 0)} ms, ${round(one.lateMs, 0)} with its waiting for a core`,
    `${one.scavenges} scavenges, ${one.markCompacts} mark-compacts, ${round(one.gcMs / one.seconds / 10, 2)} % of its time`,
    `heap ${mebibytes(one.heapBytesFirst)} to ${mebibytes(one.heapBytesLast)} MiB, buffers ${mebibytes(one.bufferBytesFirst)} to ${mebibytes(one.bufferBytesLast)}`,
  ].join('; ')
}

/** `env`: of the server, for the test that a fault is seen. */
export async function run(
  args: CaseArguments,
  env: Readonly<Record<string, string>> = {},
): Promise<CaseResult> {
  const watch = new ThreadWatch()
  const nodeOptions = [watch.env['NODE_OPTIONS'], env['NODE_OPTIONS'] ?? ''].join(' ')
  const side = await OurSide.start({
    args: ['--log-retention-bytes', String(RETENTION_BYTES)],
    env: { ...env, ...watch.env, NODE_OPTIONS: nodeOptions },
  })
  const { server } = side
  const warmup = args.smoke ? 0 : 1
  const saturation = args.smoke ? args.seconds : SATURATION_SECONDS
  const full = await side.run(LOAD, false, { seconds: saturation, warmup, seed: args.seed })
  const rate = Math.max(1, Math.floor(full.run.messages / full.run.seconds / 2))
  const stretches = args.smoke ? STRETCHES_SMOKE : STRETCHES
  const seconds = args.seconds / stretches
  const pinger = await Pinger.connect(server.mqttPort)
  const stretch = (i: number) =>
    side.run({ ...LOAD, rate }, false, { seconds, warmup: 0, seed: args.seed + i * 10_000 })
  if (!args.smoke) for (let i = 1; i <= SETTLING; i++) await stretch(stretches + i)
  const stolen = stealSeconds()
  const startedMs = Date.now()
  const runs = []
  const megabytes: number[] = []
  const diskP99s: number[] = []
  for (let i = 1; i <= stretches; i++) {
    const stretchMs = Date.now()
    const one = await stretch(i)
    runs.push(one)
    const log = watch.read(stretchMs, Date.now()).find(({ thread }) => thread === 'log')
    diskP99s.push(round(diskP99(log?.diskMs ?? [], one.report.seconds), 1))
    megabytes.push(Math.round(residentBytes(server.process.pid) / 2 ** 20))
  }
  const threads = watch.read(startedMs, Date.now())
  const pings = pinger.close()
  const { raw, rejectedAtDoor } = await server.account()
  if (raw !== side.sent || rejectedAtDoor !== 0)
    throw new Error(`${side.sent} messages were sent, the log ends after ${raw}, ${rejectedAtDoor} rejected`)
  await server.stop()
  server.removeData()
  const latencies = runs.map((one) => one.report.latencyMs!)
  const p99s = latencies.map((one) => one.p99)
  const soak: Soak = { megabytes, p99s, diskP99s, threads }
  const notes = [
    pinning,
    `RSS after each stretch, MiB: ${megabytes.join(' ')}`,
    `PUBACK p99 of each stretch, ms: ${p99s.join(' ')}`,
    `what the log's waits for the disk make of it, ms: ${diskP99s.join(' ')}`,
    ...threads.map(threadText),
    `answer to a ping, ms: p99 ${round(pings.p99, 1)}, longest ${round(pings.max, 1)} of ${pings.count}`,
    `${round(stealSeconds() - stolen, 1)} s of CPU went to other machines of the host`,
  ]
  const problems = args.smoke && Object.keys(env).length === 0 ? [] : soakProblems(soak)
  if (problems.length > 0) throw new Error(`${problems.join('; ')}\n${notes.join('\n')}`)
  return {
    ...caseResult(
      'soak',
      args,
      'msg/s',
      summarise(runs.map((one) => one.run)),
      `${side.sent} messages acknowledged = offsets of the log; memory flat, no stall, ${p99Text(soak)}`,
      [],
    ),
    latencyMs: latencyOf(latencies)!,
    threads: side.threads.at(-1)!,
    notes,
  }
}

if (import.meta.main) {
  const args = caseArguments(600, 1)
  printResult(await run(args), args)
}
