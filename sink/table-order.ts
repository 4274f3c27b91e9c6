// What a table's own metadata says of its layout, for those who have no contract at hand (compaction, health): the
// time whose day is the partition, and the order (device, time) that its files are sorted by.

import type { TableLayout } from './ensure-table.ts'
import { currentSchema, defaultSpec, type TableMetadata } from './iceberg/metadata.ts'
import { bucketCountOf } from './iceberg/partition.ts'
import type { NestedField } from './iceberg/schema.ts'
import { sameSortFields, sortOrderBy, UNSORTED } from './iceberg/sort-order.ts'

/** The id of the order (device, time) among the table's, UNSORTED where another engine took it away. */
export function sortOrderId(metadata: TableMetadata, deviceId: number, timeId: number): number {
  const { fields } = sortOrderBy(0, [deviceId, timeId])
  const found = metadata['sort-orders'].find((order) => sameSortFields(order.fields, fields))
  return found?.['order-id'] ?? UNSORTED
}

export interface TableOrder {
  layout: TableLayout
  device: NestedField
  time: NestedField
  sortOrderId: number
}

/** The layout of a table of ours; undefined where it is partitioned or ordered in another way. */
export function tableOrder(metadata: TableMetadata): TableOrder | undefined {
  const { fields } = currentSchema(metadata)
  const top = (id: number | undefined): NestedField | undefined => fields.find((field) => field.id === id)
  const spec = defaultSpec(metadata)
  const day = spec.fields.find((part) => part.transform === 'day')
  const bucket = spec.fields.find((part) => bucketCountOf(part.transform) !== undefined)
  const time = top(day?.['source-id'])
  if (day === undefined || time === undefined) return undefined
  if (spec.fields.length !== (bucket === undefined ? 1 : 2)) return undefined
  // Of the orders that end in the time, ours is (device, time) with the device first.
  const order = metadata['sort-orders'].find(
    (one) => one.fields.length === 2 && one.fields[1]!['source-id'] === time.id,
  )
  const device = top(bucket?.['source-id'] ?? order?.fields[0]?.['source-id'])
  if (device?.type !== 'string' || time.type !== 'timestamptz') return undefined
  return {
    layout: {
      timeColumn: time.name,
      deviceColumn: device.name,
      dayField: day.name,
      bucket:
        bucket === undefined ? undefined : { field: bucket.name, count: bucketCountOf(bucket.transform)! },
    },
    device,
    time,
    sortOrderId: sortOrderId(metadata, device.id, time.id),
  }
}
