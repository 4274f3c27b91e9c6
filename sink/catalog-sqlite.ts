// Catalog pointers in SQLite in the layout of Iceberg's JdbcCatalog, schema version V1, which PyIceberg's
// SqlCatalog, Spark and iceberg-rust open directly, at the same time:
//
//   iceberg_tables                 (catalog_name, table_namespace, table_name) → metadata_location,
//                                  previous_metadata_location, iceberg_type = 'TABLE'
//   iceberg_namespace_properties   (catalog_name, namespace, property_key) → property_value;
//                                  a namespace exists by its row exists = true
//
// Journal mode WAL: readers of other processes never hold up a commit, nor a commit them. synchronous = FULL:
// the WAL is synced at each commit, so a commit that returned survives power loss. Another writer (Spark,
// PyIceberg) is waited for up to the busy timeout; running into it means that nothing was done.
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { MillraceError } from '../std/errors.ts'
import { type Pointers, printTableId, type TableId } from './catalog.ts'

const BUSY_TIMEOUT_MS = 10_000
/** SQLite's primary result codes. */
const SQLITE_BUSY = 5
const SQLITE_CONSTRAINT = 19

const TABLES = `
CREATE TABLE IF NOT EXISTS iceberg_tables (
  catalog_name VARCHAR(255) NOT NULL,
  table_namespace VARCHAR(255) NOT NULL,
  table_name VARCHAR(255) NOT NULL,
  metadata_location VARCHAR(1000),
  previous_metadata_location VARCHAR(1000),
  iceberg_type VARCHAR(5),
  PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
  catalog_name VARCHAR(255) NOT NULL,
  namespace VARCHAR(255) NOT NULL,
  property_key VARCHAR(255) NOT NULL,
  property_value VARCHAR(1000),
  PRIMARY KEY (catalog_name, namespace, property_key)
);`

/** A view has its row in iceberg_tables too; rows from before V1 have no type. */
const IS_TABLE = `(iceberg_type = 'TABLE' OR iceberg_type IS NULL)`

export class SqlitePointers implements Pointers {
  readonly #db: DatabaseSync
  readonly #catalogName: string
  readonly #file: string
  readonly #get: StatementSync
  readonly #insert: StatementSync
  readonly #swap: StatementSync

  /** Opens or makes the file. Errors: `data_unwritable`. `readOnly` for the commands that only look. */
  constructor(file: string, catalogName: string, options: { readOnly?: boolean } = {}) {
    this.#catalogName = catalogName
    this.#file = file
    try {
      this.#db = new DatabaseSync(file, { readOnly: options.readOnly ?? false, timeout: BUSY_TIMEOUT_MS })
      if (options.readOnly !== true) {
        this.#db.exec('PRAGMA journal_mode = WAL')
        this.#db.exec('PRAGMA synchronous = FULL')
        this.#db.exec(TABLES)
      }
      // SQLite opens anything; what is no database, or not a catalog's, shows at the first look into it.
      else
        this.#db.exec(
          'SELECT 1 FROM iceberg_tables LIMIT 0; SELECT 1 FROM iceberg_namespace_properties LIMIT 0',
        )
    } catch (error) {
      throw new MillraceError(
        'data_unwritable',
        `the catalog ${file} cannot be opened: ${String((error as Error).message)}`,
        { file },
        error,
      )
    }
    this.#get = this.#db.prepare(
      `SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND ${IS_TABLE}`,
    )
    this.#insert = this.#db.prepare(
      `INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, previous_metadata_location, iceberg_type) VALUES (?, ?, ?, ?, NULL, 'TABLE')`,
    )
    this.#swap = this.#db.prepare(
      `UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ? WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ? AND ${IS_TABLE}`,
    )
  }

  async createNamespace(namespace: string): Promise<void> {
    this.#run(() =>
      this.#db
        .prepare(
          `INSERT OR IGNORE INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value) VALUES (?, ?, 'exists', 'true')`,
        )
        .run(this.#catalogName, namespace),
    )
  }

  async dropNamespace(namespace: string): Promise<boolean> {
    const result = this.#run(() =>
      this.#db
        .prepare(`DELETE FROM iceberg_namespace_properties WHERE catalog_name = ? AND namespace = ?`)
        .run(this.#catalogName, namespace),
    )
    return Number(result.changes) > 0
  }

  async listNamespaces(): Promise<string[]> {
    const rows = this.#db
      .prepare(
        `SELECT DISTINCT namespace FROM iceberg_namespace_properties WHERE catalog_name = ? ORDER BY namespace`,
      )
      .all(this.#catalogName)
    return rows.map((row) => String(row['namespace']))
  }

  async listTables(namespace: string): Promise<string[]> {
    const rows = this.#db
      .prepare(
        `SELECT table_name FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND ${IS_TABLE} ORDER BY table_name`,
      )
      .all(this.#catalogName, namespace)
    return rows.map((row) => String(row['table_name']))
  }

  async get(id: TableId): Promise<string | undefined> {
    const row = this.#get.get(this.#catalogName, id.namespace, id.name)
    const location = row?.['metadata_location']
    return location === undefined || location === null ? undefined : String(location)
  }

  async insert(id: TableId, location: string): Promise<boolean> {
    try {
      this.#run(() => this.#insert.run(this.#catalogName, id.namespace, id.name, location))
      return true
    } catch (error) {
      if (primaryCode(error) === SQLITE_CONSTRAINT) return false
      throw error
    }
  }

  async swap(id: TableId, expected: string, next: string): Promise<boolean> {
    const result = this.#run(() =>
      this.#swap.run(next, expected, this.#catalogName, id.namespace, id.name, expected),
    )
    return Number(result.changes) === 1
  }

  async remove(id: TableId): Promise<boolean> {
    const result = this.#run(() =>
      this.#db
        .prepare(
          `DELETE FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND ${IS_TABLE}`,
        )
        .run(this.#catalogName, id.namespace, id.name),
    )
    return Number(result.changes) > 0
  }

  async rename(from: TableId, to: TableId): Promise<boolean> {
    await this.createNamespace(to.namespace)
    try {
      const result = this.#run(() =>
        this.#db
          .prepare(
            `UPDATE iceberg_tables SET table_namespace = ?, table_name = ? WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND ${IS_TABLE}`,
          )
          .run(to.namespace, to.name, this.#catalogName, from.namespace, from.name),
      )
      return Number(result.changes) > 0
    } catch (error) {
      if (primaryCode(error) !== SQLITE_CONSTRAINT) throw error
      throw new MillraceError('table_conflict', `table ${printTableId(to)} exists`)
    }
  }

  async close(): Promise<void> {
    if (this.#db.isOpen) this.#db.close()
  }

  #run<T>(statement: () => T): T {
    try {
      return statement()
    } catch (error) {
      if (primaryCode(error) !== SQLITE_BUSY) throw error
      throw new MillraceError(
        'table_conflict',
        `${this.#file} was locked by another process for ${BUSY_TIMEOUT_MS / 1000} s`,
        { file: this.#file },
        error,
      )
    }
  }
}

/** Extended codes carry the primary one in their low byte. */
function primaryCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown }).errcode
  return typeof code === 'number' ? code & 0xff : undefined
}
