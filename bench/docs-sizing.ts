// What a message costs in each stage, and what a rate needs by it (docs/sizing.md), and what the cases on Kafka cost
// (docs/kafka.md): Markdown made of stored results.
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
import type { CaseResult } from './result.ts'

const COPIES = 3
/** Raw and normalized. */
const TOPICS = 2
const RECORD_BYTES = 79
/** A core is planned to be busy to this share, so that a failed machine, a rebalance or a burst has room. */
const BUSY = 0.6
const CORES_PER_BROKER = 8
const BROKERS_MIN = 3
const PARTITIONS_PER_CORE = 4
const RATES_MILLION = [1, 10, 100]

/** µs of CPU a message. */
interface Costs {
  ingest: number
  passed: number
  rewritten: number
  sink: number
  brokers: number
}

/** Row and column of a case's table. */
function inTable(result: CaseResult, row: string, column: string): number {
  const table = result.tables?.[0]
  const value = table?.rows.find(([name]) => name === row)?.[table.columns.indexOf(column)]
  if (typeof value !== 'number')
    throw new MissingResult(`the result of ${result.case} has no ${column} of ${row}`)
  return value
}

function brokerUs(result: CaseResult): number {
  if (result.brokerUsPerMessage === undefined)
    throw new MissingResult(`the result of ${result.case} has no CPU of the broker`)
  return result.brokerUsPerMessage
}

/** As it stands in the table, so that the sizes follow from what a reader sees. */
const shown = (us: number): number => Number(us.toFixed(2))

function costsOf(results: Results): Costs {
  const normalize = need(results, 'normalize-kafka')
  const fetch = need(results, 'kafka-fetch')
  const toKafka = need(results, 'mqtt-to-kafka')
  // Each of the three copies of both topics is taken, the followers and the sink fetch; what normalize fetches is in its own.
  const fetches = TOPICS * (COPIES - 1) + 1
  return {
    ingest: shown(toKafka.cpuUsPerMessage),
    passed: shown(normalize.cpuUsPerMessage),
    rewritten: shown(inTable(normalize, 'rewritten', 'CPU µs')),
    sink: shown(fetch.cpuUsPerMessage + need(results, 'sink-commit').cpuUsPerMessage),
    brokers: shown(COPIES * (brokerUs(toKafka) + brokerUs(normalize)) + fetches * brokerUs(fetch)),
  }
}

export const stageCosts: Block = (results) => {
  const costs = costsOf(results)
  const [toKafka, normalize, fetch, commit] = [
    'mqtt-to-kafka',
    'normalize-kafka',
    'kafka-fetch',
    'sink-commit',
  ].map((name) => need(results, name)) as [CaseResult, CaseResult, CaseResult, CaseResult]
  const small = need(results, 'tcp-qos1-8x64').cpuUsPerMessage
  const full = need(results, 'tcp-qos1-8x1024').cpuUsPerMessage
  const pass = need(results, 'normalize-pass').cpuUsPerMessage
  const rewrite = need(results, 'normalize-rewrite').cpuUsPerMessage
  const rows = [
    ['ingest to Kafka', costs.ingest, '`mqtt-to-kafka`: 200 connections with 64 messages in flight'],
    ['normalize, passed on', costs.passed, '`normalize-kafka`: fetched, looked at, sent in transactions'],
    ['normalize, rewritten', costs.rewritten, '`normalize-kafka`, each record encoded anew'],
    [
      'sink to Parquet and Iceberg',
      costs.sink,
      `\`kafka-fetch\` ${micros(fetch.cpuUsPerMessage)}, \`sink-commit\` ${micros(commit.cpuUsPerMessage)} (both decode: it is counted twice)`,
    ],
    [
      'brokers, all copies',
      costs.brokers,
      `to take a record with small batches ${micros(brokerUs(toKafka))} (\`mqtt-to-kafka\`), to give and take one in transactions ${micros(brokerUs(normalize))} (\`normalize-kafka\`), each of them ${COPIES} times; ${TOPICS * (COPIES - 1) + 1} further fetches of ${micros(brokerUs(fetch))} (\`kafka-fetch\`)`,
    ],
  ]
  const where = whereOf([toKafka, normalize, fetch, commit])
  return `${markdown(['stage', 'µs of CPU a message', 'from'], rows)}\n${wrap(
    `On one machine with the embedded log nothing is sent and fetched: ingest and log take ${micros(small)} with small windows (\`tcp-qos1-8x64\`) and ${micros(full)} with full ones (\`tcp-qos1-8x1024\`), normalize ${micros(pass)} passed on and ${micros(rewrite)} rewritten, the sink ${micros(commit.cpuUsPerMessage)}. ${where}`,
  )}`
}

export const sizes: Block = (results) => {
  const costs = costsOf(results)
  const cores = (us: number, million: number): number => Math.ceil(Number(((million * us) / BUSY).toFixed(6)))
  const rows = RATES_MILLION.map((million) => {
    const normalize = [cores(costs.passed, million), cores(costs.rewritten, million)]
    const sink = cores(costs.sink, million)
    const gigabits = (million * 1e6 * RECORD_BYTES * TOPICS * COPIES * 8) / 1e9
    return [
      `${million} M`,
      String(cores(costs.ingest, million)),
      normalize.join(' – '),
      String(sink),
      String(Math.max(BROKERS_MIN, Math.ceil(cores(costs.brokers, million) / CORES_PER_BROKER))),
      String(PARTITIONS_PER_CORE * Math.max(...normalize, sink)),
      `${gigabits.toFixed(1)} Gbit/s`,
    ]
  })
  const unbatched = need(results, 'unbatched-1000').cpuUsPerMessage
  const columns = [
    ...['messages a second', 'ingest cores', 'normalize cores', 'sink cores', 'brokers of 8 cores'],
    ...['partitions', 'into all brokers'],
  ]
  return `${markdown(columns, rows)}\n${wrap(
    `A message alone in its segment costs ${micros(unbatched)} of ingest (\`unbatched-1000\`), whatever the log is: 1 M msg/s of them need ${cores(unbatched, 1)} ingest cores.`,
  )}`
}

export const kafkaCosts: Block = (results) => {
  const [produce, fetch, toKafka, normalize, scale] = [
    ...['kafka-produce', 'kafka-fetch', 'mqtt-to-kafka', 'normalize-kafka', 'scale-out'],
  ].map((name) => need(results, name)) as [CaseResult, CaseResult, CaseResult, CaseResult, CaseResult]
  const peers = ({ peers: all }: CaseResult): string =>
    all
      .map(({ name, cpuUsPerMessage, ratio }) => `${name} ${micros(cpuUsPerMessage ?? 0)} (${ratio} ×)`)
      .join(', ')
  const rows = [
    ['`kafka-produce`: 100-byte values, acks=all, 8 partitions', produce, peers(produce)],
    ['`kafka-fetch`: read and decoded into columns', fetch, `${peers(fetch)}, all without decoding`],
    ['`mqtt-to-kafka`: QoS 1, 200 connections, window 64, acks=all', toKafka, ''],
    ['`normalize-kafka`: exactly once, passed on', normalize, ''],
  ].map(([what, one, others]) => {
    const { cpuUsPerMessage, median } = one as CaseResult
    return [
      what as string,
      micros(cpuUsPerMessage),
      rate(median),
      micros(brokerUs(one as CaseResult)),
      others as string,
    ]
  })
  const [rewritten, rewrittenUs, rewrittenBroker] = ['records/s', 'CPU µs', 'broker µs'].map((column) =>
    inTable(normalize, 'rewritten', column),
  ) as [number, number, number]
  rows.push([
    'the same, every record rewritten',
    micros(rewrittenUs),
    rate(rewritten),
    micros(rewrittenBroker),
    '',
  ])
  for (const [processes, perSecond, us] of scale.tables?.[0]?.rows ?? [])
    rows.push([
      `\`scale-out\`: normalize and sink in ${processes} ${processes === 1 ? 'process' : 'processes'}`,
      micros(us as number),
      rate(perSecond as number),
      '',
      '',
    ])
  return `${markdown(['case', 'CPU a record', 'records a second', 'the broker', 'peers, by CPU'], rows)}\n${wrap(
    `The broker and the load are on the other core; in \`scale-out\` all processes share the two cores with the broker. ${whereOf([produce, fetch, toKafka, normalize, scale])}`,
  )}`
}
