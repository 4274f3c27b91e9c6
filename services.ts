// What a process shows over HTTP (http/server.ts): health, metrics, status, streams, tables, contracts, the account.
// Reads what main.ts and the log know; nothing here changes anything but `registerContract`.
import { type Address, addressText, type Config } from './config.ts'
import type { DurationMetric, MetricSource, Metrics } from './http/metrics.ts'
import { schemaRegistryRoutes } from './http/schema-registry-routes.ts'
import type { Account, Check, Services, TableSummary } from './http/server.ts'
import type { JournalStats } from './log/journal.ts'
import { COMMIT_MS_BOUNDS } from './log/journal-writer.ts'
import type { Log } from './log/log.ts'
import { recordsAfter } from './log/records-after.ts'
import { type PayloadChecker, RejectedReplay } from './replay-rejected.ts'
import type { Contract } from './schemas/contract.ts'
import { normalizedTopic, rawTopic, rejectedTableOf, rejectedTopic, tableOf } from './schemas/names.ts'
import type { SchemaRegistry } from './schemas/registry.ts'
import type { StreamDescriptor } from './schemas/stream.ts'
import { openTables, tablesExist } from './sink/open-tables.ts'
import type { WarehouseConfig } from './sink/open-warehouse.ts'
import { rejectedRows } from './sink/rejected-rows.ts'
import { MillraceError } from './std/errors.ts'
import { VERSION } from './std/version.ts'
import type { ServedStreams } from './streams.ts'

export interface Status {
  connections: number
  messagesIn: number
  refused: number
  acknowledged: number
  rowsCommitted: number
  /** Age of the oldest row at the last commit; undefined before the first. */
  freshnessMs: number | undefined
  /** What keeps the process from being ready, in words. */
  trouble: string[]
}

/** What main.ts knows. */
export interface ProcessView {
  readonly config: Config
  /** Milliseconds since 1970. */
  readonly startedAt: number
  readonly log: Log
  readonly registry: SchemaRegistry
  readonly served: ServedStreams
  readonly addresses: Readonly<Record<string, Address | undefined>>
  readonly isDraining: boolean
  /** Of the embedded log, as of the last second. */
  readonly logStats: JournalStats | undefined
  status(): Status
  sources(): readonly MetricSource[]
  /** Time from the receipt of a message to its PUBACK. */
  readonly ackLatency: DurationMetric
  /** What the door says of payloads of a stream. */
  payloadChecker(stream: StreamDescriptor): PayloadChecker
  /** Of all raw records ever dealt with. */
  tally(): Promise<{ duplicates: number; rejected: number }>
}

/** Of a log that is not ours to measure. */
const COMMIT_MS_BUCKETS_NONE = [...COMMIT_MS_BOUNDS, Infinity].map(() => 0)

/** Slots that may fall; all others only grow. */
const GAUGES = new Set([
  ...['connections', 'sessions', 'subscriptions', 'pausedReads', 'slowedClients', 'bytesWaiting'].map(
    (name) => `ingest.${name}`,
  ),
  ...['lag_records', 'devices', 'streams_stopped', 'streams_waiting'].map((name) => `normalize.${name}`),
  ...['freshnessMs', 'oldestWaitMs', 'lagRecords', 'tables', 'tablesParked'].map((name) => `sink.${name}`),
  'kafka.connections',
])

export function createServices(view: ProcessView): Services {
  let metrics: Promise<Metrics> | undefined
  const replay = new RejectedReplay(view.log)
  const { config, served, registry } = view
  return {
    version: VERSION,
    readiness: async () => readiness(view),
    scrape: async () => {
      metrics ??= createMetrics(view)
      return (await metrics).scrape()
    },
    status: () => ({
      version: VERSION,
      roles: config.roles,
      uptimeSeconds: Math.floor((Date.now() - view.startedAt) / 1000),
      addresses: Object.fromEntries(
        Object.entries(view.addresses).map(([name, address]) => [
          name,
          address ? addressText(address) : null,
        ]),
      ),
      ...view.status(),
    }),
    streams: () =>
      served.streams.map(({ tenant, stream, family, contractVersion, subject, schemaId, partitions }) => ({
        tenant,
        stream,
        family,
        contractVersion,
        subject,
        schemaId,
        partitions,
      })),
    stream: (tenant, stream) => {
      const found = served.find(tenant, stream)
      return (
        found && {
          ...found,
          schema: JSON.parse(found.schema) as unknown,
          writers: found.writers.map(({ id }) => id),
        }
      )
    },
    tables: () => tablesOf(config),
    account: () => accountOf(view),
    contracts: () => served.contracts.map(summaryOf),
    registerContract: async (text) => {
      if (view.isDraining) throw new MillraceError('log_stopped', 'the process is ending')
      return summaryOf(await served.register(text))
    },
    replayRejected: async (tenant, stream, options) => {
      const found = served.find(tenant, stream)
      if (found === undefined) return undefined
      const rows = rejectedRows(config, tenant, stream)
      return replay.run(found, rows, view.payloadChecker(found), options)
    },
    mounts: [{ prefix: '/schema-registry', routes: schemaRegistryRoutes(registry) }],
  }
}

function summaryOf({ family, tenant, version, streams }: Contract) {
  return { family, tenant, version, streams: streams.map((stream) => stream.name) }
}

function readiness(view: ProcessView): Check[] {
  const { trouble } = view.status()
  const check = (name: string, reasons: readonly string[]): Check =>
    reasons.length === 0 ? { name, ok: true } : { name, ok: false, reason: reasons.join('; ') }
  const ofLog = (text: string): boolean => text.startsWith('log: ')
  return [
    check('process', view.isDraining ? ['draining'] : []),
    check('log', trouble.filter(ofLog)),
    check(
      'streams',
      trouble.filter((text) => !ofLog(text)),
    ),
  ]
}

/** At the first scrape: loading OpenTelemetry takes a tenth of a start. */
async function createMetrics(view: ProcessView): Promise<Metrics> {
  const { Metrics } = await import('./http/metrics.ts')
  type Count =
    | 'groups'
    | 'bytes'
    | 'freeBytes'
    | 'liveBytes'
    | 'segments'
    | 'segmentsFreed'
    | 'segmentsReused'
  const stat = (name: Count) => () => view.logStats?.[name] ?? 0
  return new Metrics({
    sources: () => view.sources(),
    gauges: GAUGES,
    hidden: ['ingest.ackLatencyMs'],
    computed: [
      {
        name: 'millrace_uptime_seconds',
        help: 'Seconds since the start',
        read: () => (Date.now() - view.startedAt) / 1000,
      },
      {
        name: 'millrace_resident_bytes',
        help: 'Resident memory of the process',
        read: () => process.memoryUsage.rss(),
      },
      {
        name: 'millrace_ready',
        help: '1 when the process is ready',
        read: () => (view.isDraining || view.status().trouble.length > 0 ? 0 : 1),
      },
      {
        name: 'millrace_log_groups',
        help: 'Commit groups written: one fdatasync each',
        isCounter: true,
        read: stat('groups'),
      },
      {
        name: 'millrace_log_bytes',
        help: 'Bytes of commit groups written',
        isCounter: true,
        read: stat('bytes'),
      },
      {
        name: 'millrace_log_free_bytes',
        help: 'Free disk where the log is',
        read: stat('freeBytes'),
      },
      {
        name: 'millrace_log_reserve_bytes',
        help: 'Free disk below which the log refuses appends',
        read: () => view.config.logReserveBytes,
      },
      {
        name: 'millrace_log_live_bytes',
        help: 'Bytes of batches that are still needed',
        read: stat('liveBytes'),
      },
      {
        name: 'millrace_log_segments',
        help: 'Segment files in use',
        read: stat('segments'),
      },
      {
        name: 'millrace_log_segments_freed',
        help: 'Segment files freed',
        isCounter: true,
        read: stat('segmentsFreed'),
      },
      {
        name: 'millrace_log_segments_reused',
        help: 'Segment files made of freed ones',
        isCounter: true,
        read: stat('segmentsReused'),
      },
      {
        name: 'millrace_log_stopped',
        help: '1 when a write or sync failed and the log has stopped',
        read: () => (view.logStats?.stopped ? 1 : 0),
      },
    ],
    durations: [
      {
        name: 'millrace_log_commit_seconds',
        help: 'Write and fdatasync of a commit group',
        boundsMs: COMMIT_MS_BOUNDS,
        read: () => ({
          counts: view.logStats?.commitMsBuckets ?? COMMIT_MS_BUCKETS_NONE,
          sumMs: view.logStats?.commitMsSum ?? 0,
        }),
      },
      view.ackLatency,
    ],
  })
}

/** Size of every table, or of those; none where there is no catalog yet. */
async function tablesOf(
  config: WarehouseConfig,
  isWanted?: (id: { namespace: string; name: string }) => boolean,
): Promise<TableSummary[]> {
  if (!tablesExist(config)) return []
  const tables = openTables(config)
  try {
    return (await tables.stats(isWanted)).map((table) => ({
      ...table,
      committedAt: table.committedAt ?? null,
    }))
  } finally {
    await tables.close()
  }
}

/** Where every record is. Offsets count records, because the embedded log leaves no gaps. */
export async function accountOf(view: ProcessView): Promise<Account> {
  const { log, served } = view
  const sums = { raw: 0, normalized: 0, rejected: 0 }
  for (const { tenant, stream, partitions } of served.streams)
    for (let partition = 0; partition < partitions; partition++) {
      sums.raw += (await log.range(rawTopic(tenant, stream), partition)).end
      sums.normalized += (await log.range(normalizedTopic(tenant, stream), partition)).end
      sums.rejected += (await log.range(rejectedTopic(tenant, stream), partition)).end
    }
  const { duplicates, rejected } = await view.tally()
  // A catalog may hold tables of others too.
  const ours = new Set(
    served.streams.flatMap(({ tenant, stream }) => [
      `${tenant}.${tableOf(stream)}`,
      `${tenant}.${rejectedTableOf(stream)}`,
    ]),
  )
  const tables = await tablesOf(view.config, (id) => ours.has(`${id.namespace}.${id.name}`))
  const rowsOf = (isRejected: boolean): number =>
    tables
      .filter((table) => table.table.endsWith('_rejected') === isRejected)
      .reduce((sum, table) => sum + table.rows, 0)
  return {
    acknowledged: view.status().acknowledged,
    raw: sums.raw,
    normalized: sums.normalized,
    rejected,
    rejectedAtDoor: sums.rejected - rejected,
    duplicates,
    rows: rowsOf(false),
    rejectedRows: rowsOf(true),
  }
}

/** Records that no table holds yet. */
export async function recordsLeft({ log, served }: Pick<ProcessView, 'log' | 'served'>): Promise<number> {
  let left = 0
  for (const { tenant, stream, partitions } of served.streams)
    for (let partition = 0; partition < partitions; partition++)
      for (const [stage, topic] of [
        ['normalize', rawTopic(tenant, stream)],
        ['sink', normalizedTopic(tenant, stream)],
        ['sink', rejectedTopic(tenant, stream)],
      ] as const)
        left += await recordsAfter(log, topic, partition, await log.position(stage, topic, partition))
  return left
}
