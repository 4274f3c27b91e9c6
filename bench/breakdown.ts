// Case: where the time of one message goes: ns of each step under the load of tcp-qos1-8x1024
//
// The server runs with V8's sampling profiler (`--cpu-prof`), which writes a profile of each thread at its end. Self
// time of each function is put to the step that its file stands for. The samples are of the clock, so they say how a
// thread's time is shared; how much CPU it is comes from the kernel's account of the thread under load (threads). The
// fdatasync is the one step that waits: its row is time of the clock. What belongs to no step, most of it start
// and end of the process, is left out.
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
import { pinning, temporaryFolder } from './processes.ts'
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

/** First match wins. A native function has no file; a generated one has no file, and a line. */
const INGEST_STEPS: readonly [step: string, matches: (frame: Frame) => boolean][] = [
  ['idle', (frame) => frame.functionName === '(idle)'],
  ['garbage collection', (frame) => frame.functionName === '(garbage collector)'],
  ['find the packet', (frame) => /ingest\/(mqtt-parser|mqtt-packets|websocket)/.test(frame.url)],
  ['topic, session', (frame) => /ingest\/(session|topic|client|live)/.test(frame.url)],
  [
    'PUBACK: encode, write',
    (frame) => /ingest\/(ack|mqtt-encode)/.test(frame.url) || isNative(frame, /^write/),
  ],
  [
    'validate the payload',
    (frame) => /avro-|ingest\/admission/.test(frame.url) || (frame.url === '' && frame.lineNumber >= 0),
  ],
  ['copy into the batch', (frame) => /batch-accumulator|record-batch|ingest\/slab/.test(frame.url)],
  ['checksum', (frame) => isNative(frame, /crc32c/i) || /std\/hash/.test(frame.url)],
  [
    'hand over to the log',
    (frame) => /\/log\//.test(frame.url) || isNative(frame, /postMessage|notify|wait/),
  ],
  [
    'read the socket, event loop',
    (frame) =>
      frame.functionName === '(program)' ||
      /stream_base_commons|node:net|ingest\/(listener|worker|connection)/.test(frame.url),
  ],
]
const FDATASYNC = 'fdatasync: waiting, no CPU'
const LOG_STEPS: readonly [step: string, matches: (frame: Frame) => boolean][] = [
  ['idle', (frame) => frame.functionName === '(idle)'],
  ['garbage collection', (frame) => frame.functionName === '(garbage collector)'],
  ['checksum', (frame) => isNative(frame, /crc32c/i) || /std\/hash/.test(frame.url)],
  ['write', (frame) => isNative(frame, /^write|^pwrite/)],
  [FDATASYNC, (frame) => isNative(frame, /^fdatasync|^fsync/)],
  [
    'group, index, answers',
    (frame) => /\/log\//.test(frame.url) || isNative(frame, /postMessage|notify|wait/),
  ],
]

function isNative(frame: Frame, name: RegExp): boolean {
  return frame.url === '' && frame.lineNumber < 0 && name.test(frame.functionName)
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
  micros.delete('idle')
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
  const { run } = await side.run(LOAD, false, timing)
  const { sent } = side
  const verified = await side.verify()
  const nanos = new Map<string, number>()
  for (const name of fs.readdirSync(folder)) {
    const found = stepsOf(JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')) as Profile)
    if (found === undefined) continue
    const { thread, micros } = found
    const waiting = micros.get(FDATASYNC)
    micros.delete(FDATASYNC)
    const sum = [...micros.values()].reduce((total, one) => total + one, 0)
    const cpuNanos = (side.threads[0]![thread === 'log' ? 'log' : 'ingest-0'] ?? 0) * 1000
    for (const [step, one] of micros) nanos.set(`${thread}: ${step}`, (one / sum) * cpuNanos)
    if (waiting !== undefined) nanos.set(`${thread}: ${FDATASYNC}`, (waiting * 1000) / sent)
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
