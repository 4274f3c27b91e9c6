// Test support: two schemas like the shipped contracts, random schemas, random values for them, and the bytes
// that writers other than ours may make of them. Values are those of avsc with `wrapUnions: 'always'` and
// longs as BigInt, so that avsc can encode them as an independent oracle.
import avsc from 'avsc'
import fc from 'fast-check'
import type { AvroNode } from './avro-node.ts'
import { branchName } from './avro-node.ts'
import { parseAvroSchema } from './avro-schema.ts'

/** About 40 bytes a datum: the shape that the speed goals are stated for. */
export const SENSOR_SCHEMA = JSON.stringify({
  type: 'record',
  name: 'Telemetry',
  namespace: 'millrace.environment',
  fields: [
    { name: 'event_time', type: { type: 'long', logicalType: 'timestamp-micros' } },
    { name: 'seq', type: 'long' },
    { name: 'temperature', type: 'double' },
    { name: 'humidity', type: 'double' },
    { name: 'pressure', type: ['null', 'double'], default: null },
    { name: 'air_quality', type: ['null', 'double'], default: null },
    {
      name: 'occupancy',
      type: { type: 'enum', name: 'Occupancy', symbols: ['unknown', 'free', 'occupied'] },
    },
    { name: 'firmware', type: 'string' },
    { name: 'battery', type: 'double' },
  ],
})

/** Every kind that a table can hold, nested. */
export const MACHINE_SCHEMA = JSON.stringify({
  type: 'record',
  name: 'Machine',
  namespace: 'millrace.machine',
  fields: [
    { name: 'event_time', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'run', type: { type: 'string', logicalType: 'uuid' } },
    {
      name: 'position',
      type: [
        'null',
        {
          type: 'record',
          name: 'Position',
          fields: [
            { name: 'x', type: 'float' },
            { name: 'y', type: 'float' },
            { name: 'label', type: ['string', 'null'], default: 'none' },
          ],
        },
      ],
      default: null,
    },
    { name: 'readings', type: { type: 'array', items: 'double' } },
    {
      name: 'events',
      type: { type: 'array', items: { type: 'array', items: ['null', 'int'] } },
      default: [],
    },
    { name: 'labels', type: { type: 'map', values: 'string' }, default: {} },
    {
      name: 'axes',
      type: {
        type: 'map',
        values: {
          type: 'record',
          name: 'Axis',
          fields: [
            { name: 'angle', type: 'double' },
            { name: 'homed', type: 'boolean' },
          ],
        },
      },
    },
    { name: 'cost', type: ['null', { type: 'bytes', logicalType: 'decimal', precision: 12, scale: 3 }] },
    { name: 'started', type: { type: 'int', logicalType: 'date' } },
    { name: 'shift_start', type: { type: 'int', logicalType: 'time-millis' }, default: 0 },
    { name: 'cycle', type: { type: 'long', logicalType: 'time-micros' }, default: 0 },
    { name: 'serial', type: { type: 'fixed', name: 'Serial', size: 6 } },
    { name: 'trace', type: 'bytes' },
    {
      name: 'mode',
      type: { type: 'enum', name: 'Mode', symbols: ['idle', 'run', 'fault'], default: 'idle' },
    },
  ],
})

/** avsc's type of a schema, as oracle: unions wrapped, longs of 64 bits as BigInt, logical types ignored. */
export function oracleType(schema: string): avsc.Type {
  return avsc.Type.forSchema(JSON.parse(schema), {
    wrapUnions: 'always',
    typeHook: (type) => (isLong(type) ? bigLong : undefined),
  })
}

function isLong(type: unknown): boolean {
  return type === 'long' || (typeof type === 'object' && (type as { type?: unknown } | null)?.type === 'long')
}

const bigLong = avsc.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt.asIntN(64, value))
    return bytes
  },
  fromJSON: (value: number | bigint) => BigInt(value),
  toJSON: (value: bigint) => Number(value),
  isValid: (value: unknown) => typeof value === 'bigint' && BigInt.asIntN(64, value) === value,
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
})

export interface SchemaOptions {
  /** Unions of any branches, null alone and records of nothing too: what a table cannot hold. */
  anyUnion?: boolean
  /** Types that refer to themselves. */
  recursion?: boolean
  logical?: boolean
}

type SchemaJson = string | SchemaJson[] | { [key: string]: unknown }

/** Random schemas as Avro JSON text; the root is a record. Names are numbered, so that none is given twice. */
export function schemaArbitrary(options: SchemaOptions = {}): fc.Arbitrary<string> {
  const leaf: fc.Arbitrary<SchemaJson>[] = [
    fc.constantFrom<SchemaJson>('boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'),
    fc.integer({ min: 1, max: 5 }).map((count) => ({
      type: 'enum',
      symbols: Array.from({ length: count }, (_, i) => `S${i}`),
    })),
    fc.integer({ min: 1, max: 9 }).map((size) => ({ type: 'fixed', size })),
  ]
  if (options.anyUnion === true) leaf.push(fc.constantFrom<SchemaJson>('null', { type: 'fixed', size: 0 }))
  if (options.logical === true)
    leaf.push(
      fc.constantFrom<SchemaJson>(
        { type: 'int', logicalType: 'date' },
        { type: 'int', logicalType: 'time-millis' },
        { type: 'long', logicalType: 'time-micros' },
        { type: 'long', logicalType: 'timestamp-millis' },
        { type: 'long', logicalType: 'timestamp-micros' },
        { type: 'string', logicalType: 'uuid' },
        { type: 'bytes', logicalType: 'decimal', precision: 5, scale: 2 },
        { type: 'bytes', logicalType: 'decimal', precision: 38, scale: 0 },
        { type: 'fixed', size: 8, logicalType: 'decimal', precision: 18, scale: 9 },
        { type: 'fixed', size: 16, logicalType: 'uuid' },
      ),
    )
  const { record } = fc.letrec<{ node: SchemaJson; record: SchemaJson }>((tie) => ({
    node: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      ...leaf,
      tie('node').map((inner) => [inner, 'null']),
      tie('node').map((inner) => ['null', inner]),
      tie('node').map((items) => ({ type: 'array', items })),
      tie('node').map((values) => ({ type: 'map', values })),
      tie('record'),
      ...(options.anyUnion === true ? [fc.array(tie('node'), { minLength: 1, maxLength: 4 })] : []),
      ...(options.recursion === true ? [fc.constant<SchemaJson>({ $self: true })] : []),
    ),
    record: fc
      .array(tie('node'), { minLength: options.anyUnion === true ? 0 : 1, maxLength: 5 })
      .map((types) => ({ type: 'record', fields: types.map((type, i) => ({ name: `f${i}`, type })) })),
  }))
  return record.map((json) => JSON.stringify(named(json, { next: 0 }, undefined, false)))
}

/** Gives names, turns references to oneself into ones that an end can be found to, drops what unions forbid. */
function named(
  json: SchemaJson,
  names: { next: number },
  self: string | undefined,
  inUnion: boolean,
): SchemaJson {
  if (typeof json === 'string') return json
  if (Array.isArray(json)) {
    const branches: SchemaJson[] = []
    const seen = new Set<string>()
    const isSelf = (branch: SchemaJson) => (branch as { $self?: boolean }).$self === true
    for (const branch of json.some(isSelf) ? ['null', ...json] : json) {
      if (Array.isArray(branch)) continue
      const inner = named(branch, names, self, true)
      const key =
        typeof inner === 'string'
          ? inner
          : String((inner as Record<string, unknown>)['name'] ?? (inner as Record<string, unknown>)['type'])
      if (seen.has(key)) continue
      seen.add(key)
      branches.push(inner)
    }
    return branches.length === 0 ? 'int' : branches.length === 1 && branches[0] === 'null' ? 'int' : branches
  }
  if (json['$self'] === true) {
    if (self === undefined) return 'int'
    return inUnion ? self : ['null', self]
  }
  const copy: { [key: string]: unknown } = { ...json }
  if (json['type'] === 'record' || json['type'] === 'enum' || json['type'] === 'fixed')
    copy['name'] = `N${names.next++}`
  if (json['type'] === 'record')
    copy['fields'] = (json['fields'] as { name: string; type: SchemaJson }[]).map((field) => ({
      name: field.name,
      type: named(field.type, names, copy['name'] as string, false),
    }))
  if (json['type'] === 'array') copy['items'] = named(json['items'] as SchemaJson, names, self, false)
  if (json['type'] === 'map') copy['values'] = named(json['values'] as SchemaJson, names, self, false)
  return copy
}

const UUID = '0123456789abcdef'

/** Bytes for any of these data, and for a reader's view of it: one in tens of thousands is above 10 KB. */
export const ROOM = 1 << 17

/** Random values of `node` in avsc's form. Recursive values end after a few levels. */
export function valueArbitrary(node: AvroNode, depth = 0): fc.Arbitrary<unknown> {
  switch (node.kind) {
    case 'null':
      return fc.constant(null)
    case 'boolean':
      return fc.boolean()
    case 'int':
      if (node.logical === 'time-millis') return fc.integer({ min: 0, max: 86_399_999 })
      return fc.oneof(fc.integer(), fc.integer({ min: -100, max: 100 }))
    case 'long':
      if (node.logical === 'time-micros') return fc.bigInt({ min: 0n, max: 86_399_999_999n })
      return fc.oneof(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.bigInt({ min: -1000n, max: 1000n }),
        fc.bigInt({ min: 1_600_000_000_000_000n, max: 1_900_000_000_000_000n }),
      )
    case 'float':
      return fc.float({ noNaN: true })
    case 'double':
      return fc.double({ noNaN: true })
    case 'bytes':
      if (node.decimal !== undefined) return decimalArbitrary(node.decimal.precision, undefined)
      return fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes))
    case 'fixed':
      if (node.decimal !== undefined) return decimalArbitrary(node.decimal.precision, node.size)
      return fc.uint8Array({ minLength: node.size, maxLength: node.size }).map((bytes) => Buffer.from(bytes))
    case 'string':
      if (node.logical === 'uuid')
        return fc
          .array(fc.constantFrom(...UUID), { minLength: 32, maxLength: 32 })
          .map((hex) => hex.join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'))
      return fc.oneof(
        fc.string({ maxLength: 12 }),
        fc.string({ unit: 'grapheme', maxLength: 40 }),
        fc.constantFrom('1.0.0', '2.1.0'),
      )
    case 'enum':
      return fc.constantFrom(...node.symbols)
    case 'array':
      if (depth > 3) return fc.constant([])
      return fc.array(valueArbitrary(node.items, depth), { maxLength: 4 })
    case 'map':
      if (depth > 3) return fc.constant({})
      return fc.dictionary(
        fc.string({ maxLength: 6 }).filter((key) => key !== '__proto__'),
        valueArbitrary(node.values, depth),
        { maxKeys: 3, noNullPrototype: true },
      )
    case 'union': {
      const branches =
        depth > 3 && node.branches.some((b) => b.kind === 'null')
          ? node.branches.filter((b) => b.kind === 'null')
          : node.branches
      return fc.oneof(
        ...branches.map((branch) =>
          branch.kind === 'null'
            ? fc.constant(null)
            : valueArbitrary(branch, depth).map((value) => ({ [branchName(branch)]: value })),
        ),
      )
    }
    case 'record': {
      const inside = node.recursive ? depth + 1 : depth
      return fc
        .tuple(...node.fields.map((field) => valueArbitrary(field.node, inside)))
        .map((values) => Object.fromEntries(node.fields.map((field, i) => [field.name, values[i]])))
    }
  }
}

function decimalArbitrary(precision: number, size: number | undefined): fc.Arbitrary<Buffer> {
  const limit = 10n ** BigInt(precision) - 1n
  return fc.oneof(fc.bigInt({ min: -limit, max: limit }), fc.constantFrom(limit, -limit, 0n)).map((value) => {
    let length = size ?? 1
    if (size === undefined) while (BigInt.asIntN(8 * length, value) !== value) length++
    const hex = BigInt.asUintN(8 * length, value)
      .toString(16)
      .padStart(2 * length, '0')
    return Buffer.from(hex, 'hex')
  })
}

/** A schema, its node and one random value for it. */
export function datumArbitrary(
  options: SchemaOptions = {},
): fc.Arbitrary<{ schema: string; node: AvroNode; value: unknown }> {
  return schemaArbitrary(options).chain((schema) => {
    const node = parseAvroSchema(schema)
    return valueArbitrary(node).map((value) => ({ schema, node, value }))
  })
}

/**
 * Encodes like a writer with other habits than avsc's: arrays and maps in several blocks, some with their size
 * in bytes, integers padded where the format leaves room. `choose(n)` gives numbers below n.
 */
export function encodeLoosely(node: AvroNode, value: unknown, choose: (n: number) => number): number[] {
  const varint = (number: bigint, bytesMax: number): number[] => {
    let zigzag = BigInt.asUintN(64, (number << 1n) ^ (number >> 63n))
    const bytes: number[] = []
    do {
      bytes.push(Number(zigzag & 0x7fn))
      zigzag >>= 7n
    } while (zigzag > 0n)
    if (choose(4) === 0) while (bytes.length < bytesMax && choose(3) > 0) bytes.push(0)
    return bytes.map((byte, i) => (i < bytes.length - 1 ? byte | 0x80 : byte))
  }
  const long = (number: number | bigint) => varint(BigInt(number), 10)
  const int = (number: number) => varint(BigInt(number), 5)
  const sized = (bytes: Uint8Array) => [...long(bytes.length), ...bytes]
  const blocks = (items: number[][]): number[] => {
    const bytes: number[] = []
    for (let at = 0; at < items.length; ) {
      const count = 1 + choose(items.length - at)
      const body = items.slice(at, at + count).flat()
      if (choose(2) === 0) bytes.push(...long(count), ...body)
      else bytes.push(...long(-count), ...long(body.length), ...body)
      at += count
    }
    return [...bytes, ...long(0)]
  }
  const encode = (node: AvroNode, value: unknown): number[] => {
    switch (node.kind) {
      case 'null':
        return []
      case 'boolean':
        return [value === true ? 1 : 0]
      case 'int':
        return int(value as number)
      case 'long':
        return long(value as bigint)
      case 'float':
        return [...new Uint8Array(Float32Array.of(value as number).buffer)]
      case 'double':
        return [...new Uint8Array(Float64Array.of(value as number).buffer)]
      case 'bytes':
        return sized(value as Buffer)
      case 'string':
        return sized(Buffer.from(value as string))
      case 'fixed':
        return [...(value as Buffer)]
      case 'enum':
        return int(node.symbols.indexOf(value as string))
      case 'array':
        return blocks((value as unknown[]).map((item) => encode(node.items, item)))
      case 'map':
        return blocks(
          Object.entries(value as object).map(([key, item]) => [
            ...sized(Buffer.from(key)),
            ...encode(node.values, item),
          ]),
        )
      case 'union': {
        const key = value === null ? 'null' : Object.keys(value as object)[0]!
        const index = node.branches.findIndex((branch) => branchName(branch) === key)
        const inner = value === null ? null : (value as Record<string, unknown>)[key]
        return [...int(index), ...encode(node.branches[index]!, inner)]
      }
      case 'record':
        return node.fields.flatMap((field) =>
          encode(field.node, (value as Record<string, unknown>)[field.name]),
        )
    }
  }
  return encode(node, value)
}

type Choose = (n: number) => number

/** Numbers below n, by fast-check, as many as are asked for. */
export function choicesArbitrary(): fc.Arbitrary<Choose> {
  return fc.infiniteStream(fc.nat()).map((stream) => (n: number) => stream.next().value! % n)
}

/**
 * A schema that may read, or be read by, the given one: fields added with a default, dropped, moved, renamed
 * with an alias, numbers widened or narrowed, types made nullable, symbols added or dropped.
 */
export function evolve(schema: string, choose: Choose): string {
  return JSON.stringify(evolveNode(JSON.parse(schema) as SchemaJson, choose))
}

const WIDER: Record<string, string> = {
  int: 'long',
  long: 'double',
  float: 'double',
  string: 'bytes',
  bytes: 'string',
}

function evolveNode(json: SchemaJson, choose: Choose): SchemaJson {
  if (typeof json === 'string') return choose(8) === 0 ? (WIDER[json] ?? json) : json
  if (Array.isArray(json)) {
    const branches = json.map((branch) => (Array.isArray(branch) ? branch : keepKind(branch, choose)))
    return choose(10) === 0 ? branches.reverse() : branches
  }
  const copy: { [key: string]: unknown } = { ...json }
  switch (json['type']) {
    case 'array':
      copy['items'] = evolveNode(json['items'] as SchemaJson, choose)
      return copy
    case 'map':
      copy['values'] = evolveNode(json['values'] as SchemaJson, choose)
      return copy
    case 'enum': {
      const symbols = json['symbols'] as string[]
      if (choose(6) === 0 && !symbols.includes('EXTRA')) copy['symbols'] = [...symbols, 'EXTRA'].reverse()
      else if (symbols.length > 1 && choose(8) === 0) copy['symbols'] = symbols.slice(1)
      if (!(copy['symbols'] as unknown[]).includes(copy['default'])) delete copy['default']
      if (choose(8) === 0) copy['default'] = (copy['symbols'] as string[])[0]
      if (choose(20) === 0)
        Object.assign(copy, { name: `${json['name']}x`, aliases: choose(2) === 0 ? [json['name']] : [] })
      return copy
    }
    case 'fixed':
      if (choose(15) === 0 && json['logicalType'] === undefined) copy['size'] = (json['size'] as number) + 1
      return copy
    case 'record': {
      let fields = (json['fields'] as { name: string; type: SchemaJson }[]).map((field) => {
        const type = evolveNode(field.type, choose)
        const isNullable = Array.isArray(type) || type === 'null'
        const next: Record<string, unknown> = {
          name: field.name,
          type: isNullable || choose(8) > 0 ? type : ['null', type],
        }
        if (choose(10) === 0) Object.assign(next, { name: `${field.name}_new`, aliases: [field.name] })
        return next
      })
      if (choose(6) === 0) fields = fields.slice(1)
      if (choose(4) === 0) fields.reverse()
      for (const extra of [
        { name: 'added_long', type: 'long', default: 7 },
        { name: 'added_text', type: ['null', 'string'], default: null },
        { name: 'added_list', type: { type: 'array', items: 'string' }, default: ['a', 'b'] },
        { name: 'added_bare', type: 'double' },
      ])
        if (
          choose(extra.default === undefined ? 20 : 6) === 0 &&
          fields.every((field) => field['name'] !== extra.name)
        )
          fields.splice(choose(fields.length + 1), 0, extra)
      if (fields.length === 0) fields.push({ name: 'added_long', type: 'long', default: 7 })
      copy['fields'] = fields
      return copy
    }
    default:
      return copy
  }
}

/** A branch stays what it is, or a union could get the same one twice. */
function keepKind(branch: SchemaJson, choose: Choose): SchemaJson {
  return typeof branch === 'string' ? branch : evolveNode(branch, choose)
}

/** Whether a long in the value is beyond the doubles that avsc widens exactly. */
export function hasGreatLong(value: unknown): boolean {
  if (typeof value === 'bigint') return value > 2n ** 52n || value < -(2n ** 52n)
  return typeof value === 'object' && value !== null && Object.values(value).some(hasGreatLong)
}
