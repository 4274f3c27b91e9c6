// A real broker for the cases on Kafka (test/kafka/broker.ts: Java and Maven), on the generator's core, and the clients
// that are measured beside ours, each on the server's core.
//
// A Java client compiles its code while it runs, and its start costs seconds: it is measured as the difference of a
// long run and a short one.
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import type { KafkaOptions } from '../log/kafka-options.ts'
import { KAFKA_VERSION, type KafkaBrokers, kafkaClassPath, startKafka } from '../test/kafka/broker.ts'
import { kafkaOptionsOf } from '../test/kafka/options.ts'
import { type Run, round } from './harness.ts'
import { cpuSeconds, GENERATOR_CORE, pinning, SERVER_CORE } from './processes.ts'

export { KAFKA_VERSION }

export class BenchKafka {
  readonly brokers: KafkaBrokers
  #cpuBefore = 0

  private constructor(brokers: KafkaBrokers) {
    this.brokers = brokers
    process.on('exit', () => {
      for (const pid of brokers.pids) process.kill(pid, 'SIGKILL')
      fs.rmSync(brokers.folder, { recursive: true, force: true, maxRetries: 3 })
    })
  }

  static async start(): Promise<BenchKafka> {
    const brokers = await startKafka({ measured: true })
    if (!pinning.startsWith('cores shared'))
      for (const pid of brokers.pids)
        execFileSync('taskset', ['-a', '-c', '-p', String(GENERATOR_CORE), String(pid)], { stdio: 'ignore' })
    return new BenchKafka(brokers)
  }

  options(instance: string): KafkaOptions {
    return kafkaOptionsOf(this.brokers, { instance })
  }

  /** CPU seconds of the broker since the last call. */
  cpu(): number {
    const now = this.brokers.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
    const since = now - this.#cpuBefore
    this.#cpuBefore = now
    return since
  }

  stop(): Promise<void> {
    return this.brokers.stop()
  }
}

export interface JavaRun extends Run {
  /** CPU µs per record of the long run as it is, with the start of the virtual machine. */
  wholeUs: number
  /** And its seconds. */
  wholeSeconds: number
}

/** Runs a class of Kafka's tools with `args(records)`, twice, and takes the difference. */
export function javaClient(name: string, args: (records: number) => string[], records: number): JavaRun {
  const short = Math.round(records / 8)
  const [few, many] = [short, records].map((count) => timeOf(javaCommand(name, args(count))))
  return {
    messages: records - short,
    seconds: many!.seconds - few!.seconds,
    cpuSeconds: many!.cpuSeconds - few!.cpuSeconds,
    wholeUs: round((many!.cpuSeconds * 1e6) / records, 3),
    wholeSeconds: many!.seconds,
  }
}

const javaCommand = (name: string, args: readonly string[]): string[] => [
  ...['java', '-Xmx512m', '-XX:+UseSerialGC', '-cp', kafkaClassPath(), name, ...args],
]

/** Wall and CPU seconds of a command on the server's core, by the shell's own `times`. */
function timeOf(command: readonly string[]): { seconds: number; cpuSeconds: number } {
  const pin = pinning.startsWith('cores shared') ? [] : ['taskset', '-c', String(SERVER_CORE)]
  const started = performance.now()
  const script = '"$@" >/dev/null 2>&1; code=$?; times; exit $code'
  const done = spawnSync('bash', ['-c', script, 'bash', ...pin, ...command], { encoding: 'utf8' })
  const seconds = (performance.now() - started) / 1000
  if (done.status !== 0) throw new Error(`${command.at(-1)}: ended with ${done.status}: ${done.stderr}`)
  // The second line of `times`: user and system of all children.
  const cpu = [
    ...done.stdout
      .trim()
      .split('\n')[1]!
      .matchAll(/(\d+)m([\d.]+)s/g),
  ]
  return { seconds, cpuSeconds: cpu.reduce((sum, [, m, s]) => sum + Number(m) * 60 + Number(s), 0) }
}

/** A client in JavaScript, as a process of its own (kafka-peers.ts), that says itself what its runs took. */
export function scriptClient(args: readonly string[]): Run {
  const file = path.join(import.meta.dirname, 'kafka-peers.ts')
  const pin = pinning.startsWith('cores shared') ? [] : ['taskset', '-c', String(SERVER_CORE)]
  const [command, ...rest] = [...pin, process.execPath, file, ...args]
  const done = spawnSync(command!, rest, { encoding: 'utf8', maxBuffer: 1 << 26 })
  if (done.status !== 0) throw new Error(`${args.join(' ')}: ended with ${done.status}: ${done.stderr}`)
  return JSON.parse(done.stdout.trim().split('\n').at(-1)!) as Run
}
