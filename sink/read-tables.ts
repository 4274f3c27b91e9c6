// Reading tables from outside the sink: which there are, how large, and the DuckDB view of a table's current
// snapshot for `millrace query`. Works while the sink commits: a snapshot's files stay for its retention.
//
// DuckDB reads the data files by Iceberg field id (`read_parquet(…, schema = MAP {id: {name, type,
// default_value}})`), so that a renamed, added or dropped column is right in every file. Fields inside
// structs it finds by name.
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { type Catalog, type LoadedTable, printTableId, type TableId } from './catalog.ts'
import { FileFetcher, isRemote } from './fetch-files.ts'
import { CONTENT_DATA, isLive, readManifest } from './iceberg/manifest.ts'
import { readManifestList } from './iceberg/manifest-list.ts'
import { currentSchema, currentSnapshot } from './iceberg/metadata.ts'
import type { NestedField, Type } from './iceberg/schema.ts'
import type { Store } from './store.ts'

export interface TableStats {
  tenant: string
  table: string
  rows: number
  files: number
  bytes: number
  snapshots: number
  /** ISO 8601, undefined in an empty table. */
  committedAt: string | undefined
}

/**
 * All tables of the catalog, by namespace and name, without those in namespaces that are not for our credentials. Errors:
 * the catalog's; its refusal where no namespace may be looked into.
 */
export async function listAllTables(catalog: Catalog): Promise<TableId[]> {
  const all: TableId[] = []
  let refusal: unknown
  for (const namespace of await catalog.listNamespaces())
    try {
      all.push(...(await catalog.listTables(namespace)))
    } catch (error) {
      if (!isOthers(error)) throw error
      refusal ??= error
    }
  if (all.length === 0 && refusal !== undefined) throw refusal
  return all
}

/** Whether the error of a load says that the table is another's: not for our credentials, or in a format that Millrace does not write. */
export function isOthers(error: unknown): boolean {
  if (isMillraceError(error, 'catalog_refused')) return error.details['status'] === 403
  return isMillraceError(error, 'table_foreign') && error.details['formatVersion'] !== undefined
}

/** Size of the current snapshot; undefined where there is no such table. */
export async function tableStats(
  catalog: Catalog,
  store: Store,
  id: TableId,
): Promise<TableStats | undefined> {
  const table = await catalog.load(id)
  if (table === undefined) return undefined
  const snapshot = currentSnapshot(table.metadata)
  let rows = 0
  let files = 0
  if (snapshot !== undefined)
    for (const manifest of readManifestList(await store.read(snapshot['manifest-list']))) {
      if (manifest.content !== CONTENT_DATA) continue
      rows += Number(manifest.added_rows_count) + Number(manifest.existing_rows_count)
      files += manifest.added_files_count + manifest.existing_files_count
    }
  return {
    tenant: id.namespace,
    table: id.name,
    rows,
    files,
    bytes: Number(snapshot?.summary['total-files-size'] ?? 0),
    snapshots: table.metadata.snapshots.length,
    committedAt: snapshot === undefined ? undefined : new Date(snapshot['timestamp-ms']).toISOString(),
  }
}

/** URIs of the data files of the current snapshot. Errors: `query_failed` where another engine left delete files. */
export async function currentDataFiles(store: Store, table: LoadedTable): Promise<string[]> {
  const snapshot = currentSnapshot(table.metadata)
  if (snapshot === undefined) return []
  const files: string[] = []
  for (const manifest of readManifestList(await store.read(snapshot['manifest-list']))) {
    if (manifest.content !== CONTENT_DATA)
      throw new MillraceError(
        'query_failed',
        `table ${printTableId(table.id)} has row-level delete files of another engine, which are not applied here: query it with that engine, or let it rewrite the data files`,
      )
    const { entries } = readManifest(await store.read(manifest.manifest_path), manifest)
    for (const entry of entries) if (isLive(entry)) files.push(entry.data_file.file_path)
  }
  return files
}

/** A SELECT over the current snapshot, for `CREATE VIEW … AS`. */
async function tableSelect(store: Store, table: LoadedTable, files: FileFetcher): Promise<string> {
  const uris = await currentDataFiles(store, table)
  if (uris.length === 0) return selectNothing(table, 'false')
  const columns = currentSchema(table.metadata).fields.map(
    (field) =>
      `${field.id}: {name: ${literal(field.name)}, type: ${literal(duckdbType(field.type))}, default_value: NULL}`,
  )
  const paths = (await files.paths(uris)).map(literal)
  return `SELECT * FROM read_parquet([${paths.join(', ')}], schema = MAP {${columns.join(', ')}}, hive_partitioning = false)`
}

/** The table's columns, and a condition that lets no row through. */
function selectNothing(table: LoadedTable, where: string): string {
  const columns = currentSchema(table.metadata).fields.map(
    (field) => `NULL::${duckdbType(field.type)} AS ${identifier(field.name)}`,
  )
  return `SELECT ${columns.join(', ')} WHERE ${where}`
}

/**
 * Statements that make schema and view of every table: `"tenant"."table"`. Files that must be fetched are fetched for
 * the tables whose name occurs in the SQL; the view of another says so when it is read, and can be described.
 */
export async function viewStatements(
  catalog: Catalog,
  store: Store,
  files = new FileFetcher(store),
  sql = '',
): Promise<string[]> {
  const statements: string[] = []
  const schemas = new Set<string>()
  const text = sql.toLowerCase()
  for (const id of await listAllTables(catalog)) {
    const isNamed = text.includes(id.name.toLowerCase())
    let select: string | undefined
    try {
      select = await selectOf(catalog, store, id, files, isNamed)
    } catch (error) {
      // A catalog may hold tables of others that cannot be read here: a hindrance only to who asks for them.
      if (isNamed || !isMillraceError(error)) throw error
    }
    if (select === undefined) continue
    if (!schemas.has(id.namespace)) statements.push(`CREATE SCHEMA IF NOT EXISTS ${identifier(id.namespace)}`)
    schemas.add(id.namespace)
    statements.push(`CREATE VIEW ${identifier(id.namespace)}.${identifier(id.name)} AS ${select}`)
  }
  return statements
}

async function selectOf(
  catalog: Catalog,
  store: Store,
  id: TableId,
  files: FileFetcher,
  isNamed: boolean,
): Promise<string | undefined> {
  const table = await catalog.load(id)
  if (table === undefined) return undefined
  const { location } = table.metadata
  if (isNamed || !isRemote(location)) return tableSelect(store, table, files)
  const reason = `the files of ${printTableId(id)} are in ${location} and were not fetched: name the table in the SQL`
  return selectNothing(table, `error(${literal(reason)})::BOOLEAN`)
}

const PRIMITIVES: Readonly<Record<string, string>> = {
  boolean: 'BOOLEAN',
  int: 'INTEGER',
  long: 'BIGINT',
  float: 'FLOAT',
  double: 'DOUBLE',
  date: 'DATE',
  time: 'TIME',
  timestamp: 'TIMESTAMP',
  timestamptz: 'TIMESTAMPTZ',
  string: 'VARCHAR',
  uuid: 'UUID',
  binary: 'BLOB',
}

function duckdbType(type: Type): string {
  if (typeof type === 'string') {
    if (type.startsWith('fixed[')) return 'BLOB'
    const decimal = /^decimal\((\d+),\s*(\d+)\)$/.exec(type)
    if (decimal !== null) return `DECIMAL(${decimal[1]}, ${decimal[2]})`
    const name = PRIMITIVES[type]
    if (name === undefined)
      throw new MillraceError('query_failed', `columns of type ${type} cannot be queried here`)
    return name
  }
  switch (type.type) {
    case 'struct':
      return `STRUCT(${type.fields.map(member).join(', ')})`
    case 'list':
      return `${duckdbType(type.element)}[]`
    case 'map':
      return `MAP(${duckdbType(type.key)}, ${duckdbType(type.value)})`
  }
}

const member = (field: NestedField): string => `${identifier(field.name)} ${duckdbType(field.type)}`

const identifier = (name: string): string => `"${name.replaceAll('"', '""')}"`

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`
