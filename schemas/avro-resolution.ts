// Avro schema resolution (Avro specification, "Schema Resolution") worked out once for a writer and a reader:
// a plan that generators follow, or every reason why there is none. Compatibility checks are the same work, so
// what a check lets pass, the generators can read.
//
// Beside the specification: a logical type must not change its meaning. A reader may drop one, may add one
// that every value fits (date, timestamp), and may widen a decimal's precision; nothing else.
import {
  type ArrayNode,
  type AvroField,
  type AvroNode,
  branchName,
  type EnumNode,
  type MapNode,
  type RecordNode,
  type UnionNode,
} from './avro-node.ts'
import { fieldPath } from './avro-schema.ts'

export type ResolutionRule =
  | 'TYPE_MISMATCH'
  | 'NAME_MISMATCH'
  | 'FIXED_SIZE_MISMATCH'
  | 'MISSING_ENUM_SYMBOLS'
  | 'MISSING_UNION_BRANCH'
  | 'READER_FIELD_MISSING_DEFAULT_VALUE'
  | 'LOGICAL_TYPE_MISMATCH'

export interface ResolutionFault {
  rule: ResolutionRule
  /** Field path in the reader. */
  path: string
  reason: string
}

/** One value as the writer wrote it → as the reader wants it. */
export type Resolution =
  /** A primitive or fixed, promoted where the kinds differ. */
  | { kind: 'leaf'; writer: AvroNode; reader: AvroNode }
  /** `indices[writer's index]` is the reader's. */
  | { kind: 'enum'; writer: EnumNode; reader: EnumNode; indices: readonly number[] }
  | { kind: 'array'; writer: ArrayNode; items: Resolution }
  | { kind: 'map'; writer: MapNode; values: Resolution }
  /** The writer chose a branch: one resolution for each. */
  | { kind: 'branches'; writer: UnionNode; branches: readonly Resolution[] }
  /** The reader has a union: this branch of it. */
  | { kind: 'into'; reader: UnionNode; index: number; inner: Resolution }
  | RecordResolution

export interface RecordResolution {
  kind: 'record'
  writer: RecordNode
  reader: RecordNode
  /** In the writer's order; without `to` the reader has no such field. */
  fields: { field: AvroField; to?: { index: number; resolution: Resolution } }[]
  /** Indices of the reader's fields that take their default. */
  defaults: number[]
}

/** The plan to read `writer`'s data as `reader`, or what stands against it. */
export function resolve(
  writer: AvroNode,
  reader: AvroNode,
): { resolution: Resolution; faults?: undefined } | { resolution?: undefined; faults: ResolutionFault[] } {
  const resolver = new Resolver()
  const resolution = resolver.resolve(writer, reader, '')
  return resolution === undefined ? { faults: resolver.faults } : { resolution }
}

const PROMOTIONS: Record<string, readonly string[]> = {
  int: ['long', 'float', 'double'],
  long: ['float', 'double'],
  float: ['double'],
  string: ['bytes'],
  bytes: ['string'],
}

class Resolver {
  faults: ResolutionFault[] = []
  /** Pairs under way or done: a recursive type meets itself here. */
  #pairs: { writer: RecordNode; reader: RecordNode; resolution: RecordResolution }[] = []

  resolve(writer: AvroNode, reader: AvroNode, path: string): Resolution | undefined {
    if (writer.kind === 'union') return this.#branches(writer, reader, path)
    if (reader.kind === 'union') return this.#into(writer, reader, path)
    if (writer.kind === 'record' && reader.kind === 'record') return this.#record(writer, reader, path)
    if (writer.kind === 'array' && reader.kind === 'array') {
      const items = this.resolve(writer.items, reader.items, `${path}[]`)
      return items && { kind: 'array', writer, items }
    }
    if (writer.kind === 'map' && reader.kind === 'map') {
      const values = this.resolve(writer.values, reader.values, `${path}{}`)
      return values && { kind: 'map', writer, values }
    }
    if (writer.kind === 'enum' && reader.kind === 'enum') return this.#enum(writer, reader, path)
    if (writer.kind !== reader.kind && !PROMOTIONS[writer.kind]?.includes(reader.kind))
      return this.#fault('TYPE_MISMATCH', path, `${writer.kind} cannot be read as ${reader.kind}`)
    if (writer.kind === 'fixed' && reader.kind === 'fixed') {
      if (!this.#sameName(writer, reader, path)) return undefined
      if (writer.size !== reader.size)
        return this.#fault('FIXED_SIZE_MISMATCH', path, `${writer.size} bytes written, ${reader.size} read`)
    }
    const logical = logicalFault(writer, reader)
    if (logical !== undefined) return this.#fault('LOGICAL_TYPE_MISMATCH', path, logical)
    return { kind: 'leaf', writer, reader }
  }

  #fault(rule: ResolutionRule, path: string, reason: string): undefined {
    this.faults.push({ rule, path, reason })
    return undefined
  }

  #branches(writer: UnionNode, reader: AvroNode, path: string): Resolution | undefined {
    const branches: Resolution[] = []
    for (const branch of writer.branches) {
      const resolution = this.resolve(branch, reader, path)
      if (resolution !== undefined) branches.push(resolution)
    }
    return branches.length === writer.branches.length ? { kind: 'branches', writer, branches } : undefined
  }

  /**
   * The branch of the writer's own type where there is one, else the first that it can be promoted to. (The
   * specification says the first that matches, which would read bytes as string in the writer's own union.)
   * What failed before leaves no trace.
   */
  #into(writer: AvroNode, reader: UnionNode, path: string): Resolution | undefined {
    const { faults } = this
    const known = this.#pairs.length
    const name = shortName(branchName(writer))
    const isOwn = (branch: AvroNode) => branch.kind === writer.kind && shortName(branchName(branch)) === name
    let own: ResolutionFault[] | undefined
    for (const branch of [
      ...reader.branches.filter(isOwn),
      ...reader.branches.filter((one) => !isOwn(one)),
    ]) {
      this.faults = []
      const inner = this.resolve(writer, branch, path)
      if (isOwn(branch)) own = this.faults
      this.faults = faults
      if (inner !== undefined) return { kind: 'into', reader, index: reader.branches.indexOf(branch), inner }
      this.#pairs.length = known
    }
    // What is wrong with the branch of the same name says more than that none fits.
    if (own !== undefined) this.faults.push(...own)
    else this.#fault('MISSING_UNION_BRANCH', path, `no branch reads ${branchName(writer)}`)
    return undefined
  }

  #record(writer: RecordNode, reader: RecordNode, path: string): Resolution | undefined {
    const known = this.#pairs.find((pair) => pair.writer === writer && pair.reader === reader)
    if (known !== undefined) return known.resolution
    if (!this.#sameName(writer, reader, path)) return undefined
    const resolution: RecordResolution = { kind: 'record', writer, reader, fields: [], defaults: [] }
    this.#pairs.push({ writer, reader, resolution })
    const faultsBefore = this.faults.length
    const sources = reader.fields.map((field) => sourceOf(field, writer))
    for (const field of writer.fields) {
      const index = sources.indexOf(field)
      if (index < 0) {
        resolution.fields.push({ field })
        continue
      }
      const target = reader.fields[index]!
      const inner = this.resolve(field.node, target.node, fieldPath(path, target.name))
      if (inner !== undefined) resolution.fields.push({ field, to: { index, resolution: inner } })
    }
    for (const [index, field] of reader.fields.entries()) {
      // A writer's field that two of the reader's claim, one by alias, goes to the first of them.
      if (sources[index] !== undefined && sources.indexOf(sources[index]) === index) continue
      if (field.default === undefined)
        this.#fault(
          'READER_FIELD_MISSING_DEFAULT_VALUE',
          fieldPath(path, field.name),
          `the writer has no field ${field.name}, and it has no default`,
        )
      resolution.defaults.push(index)
    }
    return this.faults.length === faultsBefore ? resolution : undefined
  }

  #enum(writer: EnumNode, reader: EnumNode, path: string): Resolution | undefined {
    if (!this.#sameName(writer, reader, path)) return undefined
    const fallback = reader.default === undefined ? -1 : reader.symbols.indexOf(reader.default)
    const indices = writer.symbols.map((symbol) => {
      const index = reader.symbols.indexOf(symbol)
      return index < 0 ? fallback : index
    })
    const missing = writer.symbols.filter((_, i) => indices[i]! < 0)
    if (missing.length > 0)
      return this.#fault('MISSING_ENUM_SYMBOLS', path, `no symbol ${missing.join(', ')}, and no default`)
    return { kind: 'enum', writer, reader, indices }
  }

  /** Names match without their namespaces, or through the reader's aliases. */
  #sameName(
    writer: { name: string },
    reader: { name: string; aliases: readonly string[] },
    path: string,
  ): boolean {
    const name = shortName(writer.name)
    if ([reader.name, ...reader.aliases].some((other) => shortName(other) === name)) return true
    this.#fault('NAME_MISMATCH', path, `${writer.name} is neither ${reader.name} nor an alias of it`)
    return false
  }
}

const shortName = (name: string): string => name.slice(name.lastIndexOf('.') + 1)

/** The writer's field for a reader's: by name, then by the reader's aliases in their order. */
function sourceOf(field: AvroField, writer: RecordNode): AvroField | undefined {
  for (const name of [field.name, ...field.aliases]) {
    const source = writer.fields.find((other) => other.name === name)
    if (source !== undefined) return source
  }
  return undefined
}

function logicalOf(node: AvroNode): string | undefined {
  if ('decimal' in node && node.decimal !== undefined) return 'decimal'
  return 'logical' in node ? node.logical : undefined
}

function logicalFault(writer: AvroNode, reader: AvroNode): string | undefined {
  const from = logicalOf(writer)
  const to = logicalOf(reader)
  if (to === undefined) return undefined
  if (from === undefined) {
    const isTotal = to === 'date' || to === 'timestamp-millis' || to === 'timestamp-micros'
    return isTotal ? undefined : `plain ${writer.kind} cannot be read as ${to}`
  }
  if (from !== to) return `${from} cannot be read as ${to}`
  if (from === 'decimal') {
    const a = (writer as { decimal: { precision: number; scale: number } }).decimal
    const b = (reader as { decimal: { precision: number; scale: number } }).decimal
    if (a.scale !== b.scale) return `scale ${a.scale} cannot be read as scale ${b.scale}`
    if (a.precision > b.precision) return `precision ${a.precision} cannot be read as ${b.precision}`
  }
  return undefined
}

/** Whether the writer's bytes are the reader's as they are. */
export function isIdentity(resolution: Resolution, open: readonly Resolution[] = []): boolean {
  if (open.includes(resolution)) return true
  switch (resolution.kind) {
    case 'leaf': {
      const { writer, reader } = resolution
      return (
        writer.kind === reader.kind ||
        (writer.kind === 'int' && reader.kind === 'long') ||
        (writer.kind === 'string' && reader.kind === 'bytes')
      )
    }
    case 'enum':
      return resolution.indices.every((index, i) => index === i)
    case 'array':
      return isIdentity(resolution.items, open)
    case 'map':
      return isIdentity(resolution.values, open)
    case 'branches':
      return resolution.branches.every(
        (branch, i) => branch.kind === 'into' && branch.index === i && isIdentity(branch.inner, open),
      )
    case 'into':
      return false
    case 'record':
      return (
        resolution.defaults.length === 0 &&
        resolution.fields.every(
          ({ to }, i) => to?.index === i && isIdentity(to.resolution, [...open, resolution]),
        )
      )
  }
}
