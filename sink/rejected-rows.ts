// The rows of a table of rejected records, one after the other: what a replay reads.
import { readCell } from '../schemas/column-rows.ts'
import { rejectedTableOf } from '../schemas/names.ts'
import { openWarehouse, type WarehouseConfig } from './open-warehouse.ts'
import { tableRows } from './table-rows.ts'

export interface RejectedRow {
  code: string
  device: string
  payload: Uint8Array
  receiveTimeMicros: number
  /** Position in the rejected topic. */
  partition: number
  offset: number
}

const COLUMNS = ['code', 'payload', 'device', 'receive_time', '_log_partition', '_offset'] as const

/** Rows of the current snapshot; none where there is no such table. Errors: those of catalog and store, `table_foreign`. */
export async function* rejectedRows(
  config: WarehouseConfig,
  tenant: string,
  stream: string,
): AsyncGenerator<RejectedRow> {
  const { catalog, store, close } = openWarehouse(config, { readOnly: true })
  try {
    const table = await catalog.load({ namespace: tenant, name: rejectedTableOf(stream) })
    if (table === undefined) return
    for await (const { rowCount, columns } of tableRows(store, table, COLUMNS)) {
      const column = (name: (typeof COLUMNS)[number]) => columns.find((one) => one.field.name === name)!
      for (let row = 0; row < rowCount; row++)
        yield {
          code: String(readCell(column('code'), row)),
          device: String(readCell(column('device'), row)),
          payload: Buffer.from(String(readCell(column('payload'), row)), 'hex'),
          receiveTimeMicros: Number(readCell(column('receive_time'), row)),
          partition: Number(readCell(column('_log_partition'), row)),
          offset: Number(readCell(column('_offset'), row)),
        }
    }
  } finally {
    await close()
  }
}
