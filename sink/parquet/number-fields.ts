// For tests and benchmarks: Parquet fields of a batch's columns where no table has given out ids.
import type { ColumnField } from '../../schemas/columns.ts'
import type { ParquetField } from './schema.ts'

/** Parquet fields of column fields, numbered depth first from `firstId`. */
export function parquetFields(fields: readonly ColumnField[], firstId = 1): ParquetField[] {
  let id = firstId
  const convert = (field: ColumnField): ParquetField => {
    const fieldId = id++
    const { type } = field
    const children =
      type.kind === 'struct'
        ? type.fields
        : type.kind === 'list'
          ? [type.element]
          : type.kind === 'map'
            ? [type.key, type.value]
            : undefined
    return {
      name: field.name,
      fieldId,
      required: !field.nullable,
      type,
      ...(children === undefined ? {} : { children: children.map(convert) }),
    }
  }
  return fields.map(convert)
}
