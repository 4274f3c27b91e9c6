// The tables of a warehouse, for operators: which there are, how good they are to read, and their maintenance by hand.
// Works beside a running Millrace, as one more writer that commits by compare-and-swap, or when none runs.
import { configOf, mergeOptions } from '../config.ts'
import { printTableId, type TableId } from '../sink/catalog.ts'
import { Names, systemClock } from '../sink/file-names.ts'
import { type MaintenanceReport, maintainTable, maintenanceOptions } from '../sink/maintenance.ts'
import { openTables, requireTables } from '../sink/open-tables.ts'
import { openWarehouse, type Warehouse, warehouseConfig } from '../sink/open-warehouse.ts'
import { isOthers, listAllTables } from '../sink/read-tables.ts'
import { type TableHealth, tableHealth } from '../sink/table-health.ts'
import { isOurs } from '../sink/table-schema.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { bytesText, count, parse, textTable } from './command.ts'
import { progressBar } from './progress.ts'
import { WAREHOUSE_HELP, warehouseFlags, warehouseOfFlags } from './warehouse-options.ts'

const text = { type: 'string' } as const
const LIMITS = {
  'table-file-bytes': text,
  'table-snapshot-age-ms': text,
  'table-snapshots-max': text,
  'table-orphan-age-ms': text,
}

export const tables: Command = {
  name: 'tables',
  summary: 'List the Iceberg tables, show their health, maintain them',
  help: `Usage: millrace tables [list] [--json]
       millrace tables health [TABLE…] [--json]
       millrace tables maintain [TABLE…] [--json]

list      Size of the current snapshot of every table.
health    How good tables are to read: files and their sizes, the share of small ones, the share of rows in the table's
          order, files of a day that hold one device, late rows, manifests, snapshots.
maintain  Compacts small files, merges manifests, expires snapshots, removes orphans, and says what it did. What a
          running Millrace does in the background, done now; safe beside it, and safe to interrupt.

All work while Millrace runs. TABLE is tenant.table, or the table alone for the tenant \`default\`; without one, all.

  --json                        one JSON object a table
  --table-file-bytes N          size that files are compacted to [134217728]
  --table-snapshot-age-ms N     age from which snapshots expire [3600000]
  --table-snapshots-max N       newest snapshots that stay [200]
  --table-orphan-age-ms N       age from which files without a snapshot are removed [86400000]

${WAREHOUSE_HELP}`,
  async run(args) {
    const [action = '', ...rest] = args
    switch (action) {
      case 'health':
        return showHealth(rest)
      case 'maintain':
        return maintain(rest)
      case 'list':
        return list(rest)
      default:
        if (action !== '' && !action.startsWith('-'))
          throw new MillraceError(
            'option_invalid',
            `read ${JSON.stringify(action)}, expected list, health or maintain`,
          )
        return list(args)
    }
  },
}

async function list(args: string[]): Promise<number> {
  const { values } = parse(args, { ...warehouseFlags, json: { type: 'boolean' } })
  const { json, ...flags } = values
  const reader = openTables(warehouseOfFlags(flags))
  try {
    const rows = await reader.stats(
      () => true,
      (id, reason) => process.stderr.write(`${printTableId(id)} is left out: ${reason}\n`),
    )
    if (json === true) printLines(rows)
    else
      process.stdout.write(
        `${textTable(
          ['table', 'rows', 'files', 'bytes', 'snapshots', 'last commit'],
          rows.map((row) => [
            `${row.tenant}.${row.table}`,
            row.rows,
            row.files,
            bytesText(row.bytes),
            row.snapshots,
            row.committedAt ?? '–',
          ]),
        )}\n`,
      )
    return 0
  } finally {
    await reader.close()
  }
}

function printLines(rows: readonly unknown[]): void {
  for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`)
}

/** Opens what the flags name, for tables of ours that the arguments name. */
async function open(args: string[], readOnly: boolean) {
  const { values, positionals } = parse(
    args,
    { ...warehouseFlags, ...LIMITS, json: { type: 'boolean' } },
    Number.POSITIVE_INFINITY,
  )
  const { json, ...flags } = values
  const config = configOf(mergeOptions(flags))
  const place = warehouseConfig(config)
  requireTables(place)
  const warehouse = openWarehouse(place, { readOnly })
  try {
    return { json: json === true, config, warehouse, ids: await wantedTables(warehouse, positionals) }
  } catch (error) {
    await warehouse.close()
    throw error
  }
}

async function wantedTables({ catalog }: Warehouse, names: readonly string[]): Promise<TableId[]> {
  const wanted = names.map((name): TableId => {
    const dot = name.indexOf('.')
    return dot < 0
      ? { namespace: 'default', name }
      : { namespace: name.slice(0, dot), name: name.slice(dot + 1) }
  })
  if (wanted.length > 0) {
    for (const [i, id] of wanted.entries()) {
      const table = await catalog.load(id)
      if (table === undefined)
        throw new MillraceError(
          'option_invalid',
          `there is no table ${names[i]}; \`millrace tables\` lists them`,
        )
      if (!isOurs(table.metadata))
        throw new MillraceError(
          'table_foreign',
          `table ${names[i]} was not made by Millrace: it is left alone`,
        )
    }
    return wanted
  }
  const ours: TableId[] = []
  for (const id of await listAllTables(catalog)) {
    const table = await catalog.load(id).catch((error: unknown) => {
      if (!isMillraceError(error, 'table_foreign') && !isOthers(error)) throw error
      return undefined
    })
    if (table !== undefined && isOurs(table.metadata)) ours.push(id)
  }
  return ours
}

async function showHealth(args: string[]): Promise<number> {
  const { json, config, warehouse, ids } = await open(args, true)
  try {
    const rows: TableHealth[] = []
    for (const id of ids) {
      const health = await tableHealth(warehouse.catalog, warehouse.store, id, config.tableFileBytes)
      if (health !== undefined) rows.push(health)
    }
    if (json) printLines(rows)
    else process.stdout.write(`${healthText(rows)}\n`)
    return 0
  } finally {
    await warehouse.close()
  }
}

const percent = (share: number): string => `${(share * 100).toFixed(0)} %`

function healthText(rows: readonly TableHealth[]): string {
  return textTable(
    [
      'table',
      'rows',
      'days',
      'files',
      'bytes',
      'median file',
      'small files',
      'sorted',
      'files/device',
      'late files',
      'latest late',
      'delete files',
      'manifests',
      'snapshots',
      'last commit',
    ],
    rows.map((row) => [
      row.table,
      row.rows,
      row.partitions,
      row.files,
      bytesText(row.bytes),
      bytesText(row.fileBytesMedian),
      `${row.smallFiles} (${percent(row.smallFileShare)})`,
      percent(row.sortedShare),
      row.filesPerDevice.toFixed(1),
      row.lateFiles,
      durationText(row.lateMsMax),
      row.deleteFiles,
      row.manifests,
      row.snapshots,
      row.committedAt ?? '–',
    ]),
  )
}

function durationText(ms: number): string {
  if (ms === 0) return '–'
  const units: [number, string][] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'min'],
    [1000, 's'],
  ]
  const [size, unit] = units.find(([one]) => ms >= one) ?? [1, 'ms']
  return `${(ms / size).toFixed(0)} ${unit}`
}

async function maintain(args: string[]): Promise<number> {
  const { json, config, warehouse, ids } = await open(args, false)
  const tools = {
    catalog: warehouse.catalog,
    store: warehouse.store,
    names: new Names(systemClock),
    clock: systemClock,
  }
  const { compaction, ...steps } = maintenanceOptions(config)
  // Who asks for it now does not want to wait whether a day that is over gets more files.
  const options = { ...steps, compaction: { ...compaction, closedAfterMs: 0 } }
  // The first interrupt ends it after the file at hand, with what is done committed.
  const stop = new AbortController()
  const interrupt = (): void => stop.abort()
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  let code = 0
  try {
    for (const id of ids) {
      if (stop.signal.aborted) break
      const bar = progressBar(`${id.namespace}.${id.name}`)
      try {
        const report = await maintainTable(
          tools,
          id,
          options,
          (step, done, total) => step === 'compaction' && bar.update(done, total),
          stop.signal,
        )
        bar.end()
        if (report === undefined) continue
        process.stdout.write(`${json ? JSON.stringify(report) : reportText(report)}\n`)
      } catch (error) {
        bar.end()
        if (!isMillraceError(error) || error.code === 'internal') throw error
        // One table's trouble is not another's.
        process.stderr.write(`${id.namespace}.${id.name}: ${error.message} [${error.code}]\n`)
        code = error.exitCode
      }
    }
    return code
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
    await warehouse.close()
  }
}

function reportText(report: MaintenanceReport): string {
  const { table, compaction, manifestsMerged, mayDelete, expiry, orphans } = report
  const { filesBefore, filesAfter, bytesBefore, bytesAfter, rows, partitions, skipped } = compaction!
  const lines = [
    `${table}`,
    filesBefore === 0
      ? '  compaction  nothing to do'
      : `  compaction  ${count(filesBefore)} files (${bytesText(bytesBefore)}) into ${count(filesAfter)} (${bytesText(bytesAfter)}), ${count(rows)} rows of ${count(partitions)} partitions`,
    ...skipped.map((reason) => `              left: ${reason}`),
    `  manifests   ${count(manifestsMerged)} merged`,
  ]
  if (!mayDelete) lines.push('  expiry      left, and orphans: the table has gc.enabled=false')
  else
    lines.push(
      `  expiry      ${count(expiry.snapshots)} snapshots, ${count(expiry.files)} files (${bytesText(expiry.bytes)}) with ${count(expiry.rows)} replaced rows deleted`,
      `  orphans     ${count(orphans.files)} files (${bytesText(orphans.bytes)}) with ${count(orphans.rows)} rows deleted`,
    )
  return lines.join('\n')
}
