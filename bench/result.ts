// The result of a case, as `--json` prints it and bench/results stores it.

/** Milliseconds from the (intended) sending to PUBACK; medians over the runs. */
export interface Latency {
  p50: number
  p99: number
  p999: number
}

export interface Peer {
  name: string
  version: string
  /** In the unit of the case. */
  median: number
  /** Null where the peer's process is not ours to look at. */
  cpuUsPerMessage: number | null
  /** Ours over the peer's (throughput), or the peer's over ours (cpu, memory): above 1 we are ahead. */
  ratio: number
  ratioOf: 'throughput' | 'cpu' | 'memory'
  latencyMs?: Latency
  /** As in CaseResult. */
  generatorCpuShare?: number
  /** Bytes of a file over its rows, where the case writes files. */
  bytesPerRow?: number
}

/** Another case, on the same server in the same run. */
export interface Baseline {
  case: string
  median: number
  cpuUsPerMessage: number
  /** This case's median over it. */
  ratio: number
}

export interface Calibration {
  /** MB a second of the clock: what other processes and a noisy neighbour left. */
  wall: number
  /** MB a second of CPU time: how fast the core is. */
  cpu: number
}

export interface CaseResult {
  case: string
  machine: string
  node: string
  seed: number
  runs: number
  /** `msg/s`, `rows/s`, `records/s`. */
  unit: string
  median: number
  min: number
  max: number
  cpuUsPerMessage: number
  /** What was counted and compared after the runs. */
  verified: string
  /** The calibration loop, which ran between the runs: how fast the machine was that minute. */
  calibration: Calibration
  peers: Peer[]
  baseline?: Baseline
  latencyMs?: Latency
  bytesPerRow?: number
  /** Share of its core that the load generator used; near 1 it is the limit. */
  generatorCpuShare?: number
  /** CPU µs per message of the Kafka broker that the case works with, on the other core. */
  brokerUsPerMessage?: number
  /** CPU µs per message of each thread of the server, by the thread's name. */
  threads?: Record<string, number>
  /** Figures against something that grows, a row each: connections, topics, sizes. */
  tables?: Table[]
  /** What else was seen, in sentences. */
  notes?: string[]
}

export interface Table {
  title: string
  columns: string[]
  rows: (string | number)[][]
}
