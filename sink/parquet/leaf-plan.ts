// How the leaves of the wanted fields are read from one file: matched by field id, its types widened, its levels
// renumbered where a field has become optional, was added or dropped since ("Column Projection" in the Iceberg
// specification).
//
// A leaf that the file lacks is null below the deepest node of its path that the file has. Which of those nodes
// are there in a row is told by the levels of any leaf that the file has below the same node.
import type { ColumnType } from '../../schemas/columns.ts'
import { type FileNode, REPETITION } from './footer-reader.ts'
import { type ParquetField, TYPE } from './schema.ts'

/** What becomes of a value as it lies in the file. */
export const CONVERT = {
  BOOLEAN: 0,
  /** int32 and float, as they are. */
  WORD: 1,
  /** int64 and double, as they are. */
  PAIR: 2,
  INT_TO_LONG: 3,
  FLOAT_TO_DOUBLE: 4,
  /** Decimals to 16 bytes, little-endian. */
  DECIMAL_INT32: 5,
  DECIMAL_INT64: 6,
  DECIMAL_FIXED: 7,
  FIXED: 8,
  BINARY: 9,
} as const

export type Conversion = (typeof CONVERT)[keyof typeof CONVERT]

export interface LeafPlan {
  /** Leaf of the file whose levels count; -1: the column is not there, null in every row. */
  fileLeaf: number
  /** Undefined: its levels alone. */
  conversion: Conversion | undefined
  /** Bytes of a `fixed` value in the file. */
  fileBytes: number
  /** Levels of the file's leaf. */
  maxDefinition: number
  maxRepetition: number
  /** Definition level of the wanted leaf for each of the file's. */
  levelMap: Int32Array
  /** Level entries that repeat deeper than this are not of the wanted leaf. */
  repetitionMax: number
}

/** parquet.thrift LogicalType and ConvertedType. */
const LOGICAL = { STRING: 1, DECIMAL: 5, DATE: 6, TIME: 7, TIMESTAMP: 8, INTEGER: 10, UUID: 14 } as const
const CONVERTED_UTF8 = 0
const UNIT_MICROS = 2

/** A plan for each leaf of the fields, in their order. Throws RangeError, naming the column, where the file does not fit. */
export function planLeaves(fields: readonly ParquetField[], root: FileNode): LeafPlan[] {
  for (const node of root.children) requireIds(node)
  const plans: LeafPlan[] = []
  for (const field of fields) visit(field, childById(root, field), root, [], 0, plans)
  return plans
}

/** Without its id a column cannot be told from one that is not there: its values would be lost as nulls. */
function requireIds(node: FileNode): void {
  if (node.fieldId === undefined && node.repetition !== REPETITION.REPEATED)
    throw new RangeError(`${node.name} has no field id`)
  for (const child of node.children) requireIds(child)
}

function childById(parent: FileNode, field: ParquetField): FileNode | undefined {
  return parent.children.find((one) => one.fieldId === field.fieldId)
}

/**
 * `levels`: wanted level of each level of the file above the node. `wanted`: wanted level of a row where
 * everything above is there.
 */
function visit(
  field: ParquetField,
  node: FileNode | undefined,
  parent: FileNode,
  levels: readonly number[],
  wanted: number,
  plans: LeafPlan[],
): void {
  if (node === undefined) {
    absent(field, parent, levels, wanted, plans)
    return
  }
  const optional = node.repetition !== REPETITION.REQUIRED
  if (node.repetition === REPETITION.REPEATED || (optional && field.required))
    throw new RangeError(`${field.name} is not as optional as the table's column`)
  const own = optional ? [...levels, wanted] : levels
  const level = wanted + (field.required ? 0 : 1)
  const children = field.children ?? []
  switch (field.type.kind) {
    case 'struct':
      if (node.physicalType !== undefined) throw new RangeError(`${field.name} is no struct`)
      for (const child of children) visit(child, childById(node, child), node, own, level, plans)
      return
    case 'list':
    case 'map': {
      const repeated = node.children[0]
      if (
        node.children.length !== 1 ||
        repeated?.repetition !== REPETITION.REPEATED ||
        repeated.children.length !== children.length
      )
        throw new RangeError(`${field.name} is not a ${field.type.kind} of three levels`)
      children.forEach((child) => {
        const found = childById(repeated, child)
        if (found === undefined) throw new RangeError(`${field.name} has another ${child.name}`)
        visit(child, found, repeated, [...own, level], level + 1, plans)
      })
      return
    }
    default: {
      plans.push({
        fileLeaf: node.firstLeaf,
        conversion: conversionOf(field, node),
        fileBytes: node.typeLength,
        maxDefinition: node.maxDefinition,
        maxRepetition: node.maxRepetition,
        levelMap: Int32Array.from([...own, level]),
        repetitionMax: node.maxRepetition,
      })
    }
  }
}

/** Plans of all leaves of a field that the file lacks. */
function absent(
  field: ParquetField,
  parent: FileNode,
  levels: readonly number[],
  wanted: number,
  plans: LeafPlan[],
): void {
  if (field.required) throw new RangeError(`${field.name} is required and not there`)
  let proxy = parent
  while (proxy.children.length > 0) proxy = proxy.children[0]!
  const nothingAbove = levels.length === 0 && wanted === 0 && parent.maxRepetition === 0
  const plan: LeafPlan = {
    fileLeaf: nothingAbove ? -1 : proxy.firstLeaf,
    conversion: undefined,
    fileBytes: 0,
    maxDefinition: proxy.maxDefinition,
    maxRepetition: proxy.maxRepetition,
    levelMap: Int32Array.from({ length: proxy.maxDefinition + 1 }, (_, level) => levels[level] ?? wanted),
    repetitionMax: parent.maxRepetition,
  }
  for (let left = leafCount(field); left > 0; left--) plans.push(plan)
}

function leafCount(field: ParquetField): number {
  const { kind } = field.type
  if (kind !== 'struct' && kind !== 'list' && kind !== 'map') return 1
  return (field.children ?? []).reduce((sum, child) => sum + leafCount(child), 0)
}

function conversionOf(field: ParquetField, node: FileNode): Conversion {
  const found = conversion(field.type, node)
  if (found === undefined)
    throw new RangeError(`${field.name} has a type that a ${field.type.kind} column is not read from`)
  return found
}

function conversion(type: ColumnType, node: FileNode): Conversion | undefined {
  const { physicalType, logical, converted } = node
  const isPlain = logical === undefined && converted === undefined
  const isInteger = isPlain || logical?.id === LOGICAL.INTEGER
  switch (type.kind) {
    case 'boolean':
      return physicalType === TYPE.BOOLEAN ? CONVERT.BOOLEAN : undefined
    case 'int':
      if (physicalType !== TYPE.INT32) return undefined
      return (
        type.logical === undefined
          ? isInteger
          : type.logical === 'date' && logical?.id === LOGICAL.DATE
      )
        ? CONVERT.WORD
        : undefined
    case 'long':
      return longConversion(type.logical, node, isInteger)
    case 'float':
      return physicalType === TYPE.FLOAT ? CONVERT.WORD : undefined
    case 'double':
      return physicalType === TYPE.DOUBLE
        ? CONVERT.PAIR
        : physicalType === TYPE.FLOAT
          ? CONVERT.FLOAT_TO_DOUBLE
          : undefined
    case 'string':
      return physicalType === TYPE.BYTE_ARRAY &&
        (logical?.id === LOGICAL.STRING || converted === CONVERTED_UTF8)
        ? CONVERT.BINARY
        : undefined
    case 'binary':
      return physicalType === TYPE.BYTE_ARRAY && isPlain ? CONVERT.BINARY : undefined
    case 'uuid':
    case 'fixed': {
      const fits =
        physicalType === TYPE.FIXED_LEN_BYTE_ARRAY &&
        node.typeLength === (type.kind === 'uuid' ? 16 : type.byteWidth) &&
        (isPlain || (type.kind === 'uuid' && logical?.id === LOGICAL.UUID))
      return fits ? CONVERT.FIXED : undefined
    }
    case 'decimal':
      if (
        logical?.id !== LOGICAL.DECIMAL ||
        logical.scale !== type.scale ||
        logical.precision > type.precision
      )
        return undefined
      if (physicalType === TYPE.INT32) return CONVERT.DECIMAL_INT32
      if (physicalType === TYPE.INT64) return CONVERT.DECIMAL_INT64
      return physicalType === TYPE.FIXED_LEN_BYTE_ARRAY && node.typeLength >= 1 && node.typeLength <= 16
        ? CONVERT.DECIMAL_FIXED
        : undefined
    default:
      return undefined
  }
}

function longConversion(
  wanted: 'timestamp-millis' | 'timestamp-micros' | 'time-micros' | undefined,
  node: FileNode,
  isInteger: boolean,
): Conversion | undefined {
  const { physicalType, logical } = node
  if (wanted === undefined) {
    if (!isInteger) return undefined
    return physicalType === TYPE.INT64
      ? CONVERT.PAIR
      : physicalType === TYPE.INT32
        ? CONVERT.INT_TO_LONG
        : undefined
  }
  if (physicalType !== TYPE.INT64 || logical?.unit !== UNIT_MICROS) return undefined
  const fits =
    (wanted === 'time-micros' && logical.id === LOGICAL.TIME) ||
    (wanted === 'timestamp-micros' && logical.id === LOGICAL.TIMESTAMP && logical.isUtc)
  return fits ? CONVERT.PAIR : undefined
}
