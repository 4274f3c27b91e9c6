// Case: where the time of one message goes: ns of each step under the load of tcp-qos1-8x1024
//
// How much CPU each thread takes, and how much of it in the kernel, is the kernel's account of the thread. The rest is shared
// out by V8's sampling profiler (`--cpu-prof`, which writes a profile of each thread at its end): self time of each function
// of JavaScript is put to the step that its file stands for. Native functions have no share of their own, because their
// samples are of the clock, and they wait: for the disk, or for the core that whom they woke took at once. What Node,
// libuv and V8 do in user mode is in the steps in proportion. The write and the fdatasync wait as well: their row is time of
// the clock. What belongs to no step, most of it start and end of the process, is left out.
import fs from 'node:fs'
import path from 'node:path'
import { OurSide } from './broker-case.ts'
import {
  type CaseArguments,
  calibrate,
  caseMain,
  caseResult,
  median,
  round,
  rounds,
  summarise,
} from './harness.ts'
import { pinning, temporaryFolder, threadCpuSeconds } from './processes.ts'
import type { CaseResult } from './result.ts'
import { BenchServer } from './server.ts'

const LOAD = { qos: 1, connections: 8, window: 1024 } as const
const INTERVAL_US = 500
const SECONDS_DEFAULT = 3

interface Frame {
  functionName: string
  url: string
  lineNumber: number
}

interface Profile {
  nodes: { id: number; callFrame: Frame }[]
  samples: number[]
  timeDeltas: number[]
}

type Step = readonly [step: string, matches: (frame: Frame) => boolean]

const SYSTEM = 'system calls'
const DISK = 'write, fdatasync: waiting, no CPU'
/** Of Node's own files, what runs in each turn. */
const NODE_TURN =
  /^node:(net|fs|buffer|timers|internal\/(stream|timers|event_target|async_hooks|per_context|fs|errors|net))/

/** First match wins. A native function has no file; a generated one has no file, and a line. */
const INGEST_STEPS: readonly Step[] = [
  ['garbage collection', isCollection],
  ['find the packet', ({ url }) => /ingest\/(mqtt-parser|mqtt-packets|websocket)|std\/view/.test(url)],
  [
    'topic, session',
    ({ url, functionName }) =>
      /ingest\/(session|topic|tenant|client|live)/.test(url) || functionName === 'sameBytes',
  ],
  ['PUBACK', ({ url }) => /ingest\/(ack|single-acks|send-batch|io-uring|mqtt-encode|transport)/.test(url)],
  [
    'validate the payload',
    ({ url, lineNumber }) => /avro-|ingest\/admission/.test(url) || (url === '' && lineNumber >= 0),
  ],
  ['copy into the batch', ({ url }) => /batch-accumulator|record-batch|ingest\/slab|std\/copy/.test(url)],
  ['hand over to the log', ({ url }) => /\/log\/|ingest\/commit/.test(url)],
  ['read, event loop', ({ url }) => /\/(ingest|std)\//.test(url) || NODE_TURN.test(url)],
]
const LOG_STEPS: readonly Step[] = [
  ['garbage collection', isCollection],
  ['checksum', ({ url }) => /std\/hash/.test(url)],
  [DISK, (frame) => frame.url === '' && /^(write|fdatasync|fsync)/.test(frame.functionName)],
  ['group, index, answers', ({ url }) => /\/(log|std)\//.test(url) || NODE_TURN.test(url)],
]

function isCollection({ functionName }: Frame): boolean {
  return functionName === '(garbage collector)'
}

/** Microseconds of each step; undefined where the profile is of another thread. */
function stepsOf(profile: Profile): { thread: string; micros: Map<string, number> } | undefined {
  const frames = new Map(profile.nodes.map((node) => [node.id, node.callFrame]))
  const has = (file: RegExp) => profile.nodes.some((node) => file.test(node.callFrame.url))
  const thread = has(/ingest\/mqtt-parser/) ? 'ingest' : has(/log\/log-thread/) ? 'log' : undefined
  if (thread === undefined) return undefined
  const steps = thread === 'log' ? LOG_STEPS : INGEST_STEPS
  const micros = new Map<string, number>(steps.map(([step]) => [step, 0]))
  for (const [i, id] of profile.samples.entries()) {
    const frame = frames.get(id)!
    const step = steps.find(([, matches]) => matches(frame))?.[0]
    if (step !== undefined) micros.set(step, micros.get(step)! + profile.timeDeltas[i]!)
  }
  return { thread, micros }
}

const threadOf = (step: string): string => step.slice(0, step.indexOf(': '))

interface Measured {
  side: OurSide
  run: Awaited<ReturnType<OurSide['run']>>['run']
  nanos: Map<string, number>
  verified: string
}

async function measure(args: CaseArguments, index: number): Promise<Measured> {
  const folder = temporaryFolder()
  const server = await BenchServer.start({
    roles: 'ingest',
    env: { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${folder} --cpu-prof-interval=${INTERVAL_US}` },
  })
  const side = new OurSide(server)
  const timing = { seconds: args.seconds, warmup: args.smoke ? 0.1 : 0.7, seed: args.seed + index * 10_000 }
  const { pid } = server.process
  const before = { all: threadCpuSeconds(pid), system: threadCpuSeconds(pid, 'system') }
  const { run } = await side.run(LOAD, false, timing)
  const after = { all: threadCpuSeconds(pid), system: threadCpuSeconds(pid, 'system') }
  const { sent } = side
  const verified = await side.verify()
  const nanos = new Map<string, number>()
  for (const name of fs.readdirSync(folder)) {
    const found = stepsOf(JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')) as Profile)
    if (found === undefined) continue
    const { thread, micros } = found
    const waiting = micros.get(DISK)
    micros.delete(DISK)
    const comm = thread === 'log' ? 'log' : 'ingest-0'
    const secondsOf = (part: 'all' | 'system'): number => after[part].get(comm)! - before[part].get(comm)!
    const cpuNanos = (side.threads[0]![comm] ?? 0) * 1000
    // In the short time of a smoke run the kernel may have counted none.
    const systemNanos = (cpuNanos * secondsOf('system')) / Math.max(secondsOf('all'), Number.EPSILON)
    nanos.set(`${thread}: ${SYSTEM}`, systemNanos)
    const sum = [...micros.values()].reduce((total, one) => total + one, 0)
    for (const [step, one] of micros) nanos.set(`${thread}: ${step}`, (one / sum) * (cpuNanos - systemNanos))
    if (waiting !== undefined) nanos.set(`${thread}: ${DISK}`, (waiting * 1000) / sent)
  }
  return { side, run, nanos, verified }
}

export async function run(args: CaseArguments): Promise<CaseResult> {
  const measured: Measured[] = []
  for (const i of rounds(args.runs)) {
    calibrate(args.smoke)
    measured.push(await measure(args, i))
  }
  // As a message passes the threads: ingest before log.
  const steps = [...measured[0]!.nanos.keys()].sort((a, b) => threadOf(a).localeCompare(threadOf(b)))
  const nanosOf = (step: string): number => round(median(measured.map((one) => one.nanos.get(step) ?? 0)), 0)
  const rows = steps.map((step) => [threadOf(step), step.slice(step.indexOf(': ') + 2), nanosOf(step)])
  return {
    ...caseResult(
      'breakdown',
      args,
      'msg/s',
      summarise(measured.map((one) => one.run)),
      measured.at(-1)!.verified,
      [],
    ),
    threads: measured.at(-1)!.side.threads.at(-1)!,
    tables: [{ title: 'Where the time of one message goes', columns: ['thread', 'step', 'ns'], rows }],
    notes: [pinning, `with the profiler, a sample every ${INTERVAL_US} µs`],
  }
}

if (import.meta.main) await caseMain(run, SECONDS_DEFAULT, 3)
