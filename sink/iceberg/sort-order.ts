// Iceberg specification, "Sorting": the order that rows of a data file are in. Order 0 is "unsorted" and
// reserved; a file names an order only where its rows really are in it.

export interface SortField {
  transform: string
  'source-id': number
  direction: 'asc' | 'desc'
  'null-order': 'nulls-first' | 'nulls-last'
}

export interface SortOrder {
  'order-id': number
  fields: SortField[]
}

/** Ascending by each column in turn, nulls first. */
export function sortOrderBy(orderId: number, sourceIds: readonly number[]): SortOrder {
  return {
    'order-id': orderId,
    fields: sourceIds.map((id) => ({
      transform: 'identity',
      'source-id': id,
      direction: 'asc',
      'null-order': 'nulls-first',
    })),
  }
}

/** The order that means "none". */
export const UNSORTED = 0

export function sameSortFields(a: readonly SortField[], b: readonly SortField[]): boolean {
  return (
    a.length === b.length &&
    a.every((field, i) => {
      const other = b[i]!
      return (
        field.transform === other.transform &&
        field['source-id'] === other['source-id'] &&
        field.direction === other.direction &&
        field['null-order'] === other['null-order']
      )
    })
  )
}
