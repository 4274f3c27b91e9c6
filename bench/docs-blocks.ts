// The parts of the documents that are figures: Markdown made of stored results, between markers.
//
//   <!-- bench:NAME -->
//   … renewed by `./millrace bench docs`, never by hand …
//   <!-- /bench -->
import { kafkaCosts, sizes, stageCosts } from './docs-sizing.ts'
import {
  type Block,
  MissingResult,
  markdown,
  micros,
  need,
  type Results,
  rate,
  whereOf,
  wrap,
} from './docs-text.ts'
import type { CaseResult, Latency, Peer, Table } from './result.ts'

/** Where the parts stand. */
export const DOCUMENTS: readonly string[] = [
  'README.md',
  'docs/performance.md',
  'docs/sizing.md',
  'docs/kafka.md',
]

const BROKERS = [
  ['mosquitto', 'mosquitto 2.0'],
  ['mosquitto-2.1', 'mosquitto 2.1'],
  ['flashmq', 'FlashMQ'],
  ['aedes', 'aedes'],
] as const

const LOADS = [
  ['tcp-qos0', 'QoS 0, 8 connections, full segments'],
  ['tcp-qos1-8x1024', 'QoS 1, 8 connections, 1,024 in flight each'],
  ['ws-qos1-8x1024', 'the same over WebSocket'],
  ['json-qos1', 'the same with JSON payloads'],
  ['tcp-qos1-8x64', 'QoS 1, 8 connections, 64 in flight'],
  ['tcp-qos1-100x16', 'QoS 1, 100 connections, 16 in flight'],
  ['unbatched-1000', '**unbatched**: QoS 1, 1,000 connections, one message in a segment, one in flight'],
] as const

/** Thread and step of `breakdown`, in the order of a message's way, and what the step is. */
const STEPS = [
  [
    'ingest',
    'system calls',
    'the socket read, 64 KiB of many messages at once; acknowledgements sent; the log woken; waiting for events',
  ],
  ['ingest', 'read, event loop', 'what is called for each read and turn'],
  ['ingest', 'find the packet', 'the parser: fixed header, topic, packet id, payload'],
  ['ingest', 'topic, session', 'topic looked up in the connection’s cache, permission, flow control'],
  ['ingest', 'validate the payload', 'every field of the Avro datum against the contract, where it lies'],
  ['ingest', 'copy into the batch', 'the one copy: key, payload and record header into the open RecordBatch'],
  ['ingest', 'hand over to the log', 'batches of shared memory posted to the log’s thread, answers taken'],
  [
    'ingest',
    'PUBACK',
    'noted when its message came, encoded after the commit, one write for each connection',
  ],
  ['ingest', 'garbage collection', ''],
  [
    'log',
    'system calls',
    'one write of the group past the page cache, one fdatasync, the ingest thread woken',
  ],
  ['log', 'checksum', 'CRC-32C over the whole batch, once'],
  ['log', 'group, index, answers', 'groups joined, offsets given, places noted, workers answered'],
  ['log', 'garbage collection', ''],
  [
    'log',
    'write, fdatasync: waiting, no CPU',
    'once for each group; the thread waits, everybody else goes on',
  ],
] as const

export const BLOCKS: Readonly<Record<string, Block>> = {
  brokers: (results) => {
    const measured = LOADS.map(([name]) => need(results, name))
    const rows = LOADS.map(([name, what], i) => {
      const peers = BROKERS.map(([broker]) => peerCell(measured[i]!.peers.find((one) => one.name === broker)))
      return [`${what} (\`${name}\`)`, cell(measured[i]!), ...peers]
    })
    const titles = BROKERS.map(([broker, title]) => {
      const versions = measured.flatMap((one) => one.peers.filter((peer) => peer.name === broker))
      // Those that have no version in their title yet.
      return /\d/.test(title) ? title : `${title} ${minor(versions[0]?.version)}`.trim()
    })
    return `${markdown(['case', 'Millrace', ...titles], rows)}\n${wrap(
      `Messages per second and CPU of the server per message, one core for the server and one for the load; medians of ${runsOf(measured)} runs with the peers in the same run. ${whereOf(measured)}`,
    )}`
  },
  others: (results) => {
    const { latencyMs } = need(results, 'latency-half')
    const parquet = need(results, 'parquet-encode')
    const pyarrow = parquet.peers.find((one) => one.name === 'pyarrow')
    const row = need(results, 'device-to-row')
    const idle = need(results, 'idle-10k')
    const measured = ['normalize-pass', 'normalize-rewrite', 'sink-commit'].map((name) => need(results, name))
    const [passed, rewritten, committed] = measured.map(({ median }) => rate(median))
    const all = [need(results, 'latency-half'), parquet, row, idle, ...measured]
    const rows = [
      ['PUBACK at half of the saturated rate, synced', '`latency-half`', latencyText(latencyMs)],
      [
        'normalize on one core',
        '`normalize-pass`, `normalize-rewrite`',
        `${passed} records/s passed on, ${rewritten} rewritten`,
      ],
      [
        'Parquet on one core',
        '`parquet-encode`',
        `${rate(parquet.median)} rows/s${pyarrow === undefined ? '' : `, pyarrow ${rate(pyarrow.median)} in the same run`}`,
      ],
      ['log to committed table on one core', '`sink-commit`', `${committed} rows/s`],
      [
        'device to committed row, all stages and the load on two cores',
        '`device-to-row`',
        `${rate(row.median)} rows/s, every one accounted for`,
      ],
      ['an idle connection', '`idle-10k`', `${(idle.median / 1000).toFixed(1)} KB`],
    ]
    return `${markdown(['what', 'case', 'figure'], rows)}\n${wrap(whereOf(all))}`
  },
  machine: (results) => wrap(whereOf([need(results, 'breakdown'), need(results, 'growth')])),
  breakdown: (results) => {
    const { tables = [] } = need(results, 'breakdown')
    const nanos = new Map(tables[0]!.rows.map(([thread, step, ns]) => [`${thread}: ${step}`, Number(ns)]))
    const rows = STEPS.map(([thread, step, what]) => [
      thread,
      step,
      nanos.get(`${thread}: ${step}`) ?? 0,
      what,
    ])
    const cpu = STEPS.filter(([, step]) => !step.endsWith('no CPU')).reduce(
      (sum, [thread, step]) => sum + (nanos.get(`${thread}: ${step}`) ?? 0),
      0,
    )
    return markdown(
      ['thread', 'step', 'ns', 'what it is'],
      [...rows, ['', '**CPU in all**', `**${cpu}**`, '']],
    )
  },
  growth: (results) =>
    (need(results, 'growth').tables ?? [])
      .map((table: Table) => `### ${table.title}\n\n${markdown(table.columns, table.rows)}`)
      .join('\n'),
  costs: stageCosts,
  sizes,
  kafka: kafkaCosts,
}

const MARKED = /(<!-- bench:([a-z]+) -->\n)[\s\S]*?(<!-- \/bench -->)/g

/** Names of the blocks in a text. */
export const blocksIn = (text: string): string[] => [...text.matchAll(MARKED)].map((match) => match[2]!)

/** The text with its blocks made anew; those that cannot be are left as they are, and told. */
export function renew(
  text: string,
  results: Results,
  onMissing: (block: string, reason: string) => void,
): string {
  return text.replace(MARKED, (whole, open: string, name: string, close: string) => {
    const block = BLOCKS[name]
    if (block === undefined) throw new Error(`<!-- bench:${name} --> is no block`)
    try {
      return `${open}\n${block(results).trimEnd()}\n\n${close}`
    } catch (error) {
      if (!(error instanceof MissingResult)) throw error
      onMissing(name, error.message)
      return whole
    }
  })
}

const cell = (one: { median: number; cpuUsPerMessage: number | null }): string =>
  one.cpuUsPerMessage === null ? rate(one.median) : `${rate(one.median)} · ${micros(one.cpuUsPerMessage)}`
const peerCell = (one: Peer | undefined): string => (one === undefined ? '–' : cell(one))
const minor = (version: string | undefined): string => version?.split('.').slice(0, 2).join('.') ?? ''

function latencyText(latency: Latency | undefined): string {
  if (latency === undefined) throw new MissingResult('the result of latency-half has no latency')
  const { p50, p99, p999 } = latency
  return `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, p99.9 ${p999.toFixed(1)} ms`
}

function runsOf(results: readonly CaseResult[]): string {
  const runs = results.map((one) => one.runs)
  const [least, most] = [Math.min(...runs), Math.max(...runs)]
  return least === most ? String(least) : `${least} to ${most}`
}
