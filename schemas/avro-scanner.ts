// Scanners generated from a schema: one pass over a datum that checks it whole and notes where some of its
// top-level fields are and what numbers they hold. That is all that duplicates, lateness and ranges need of a
// record, and no object is made for it.
import { compileSource, identifier } from '../std/codegen.ts'
import { ENUM_INDEX, TRAILING, UNION_INDEX } from './avro-codes.ts'
import { CheckEmitter, EMITTED_SCOPE } from './avro-emit.ts'
import { type AvroNode, nullableOf } from './avro-schema.ts'

export interface Scanner {
  /**
   * 0 when exactly bytes[start, end) is a valid datum, else a code of avro-codes.ts; then `numbers` and
   * `ranges` describe it until the next call. Never throws for any bytes.
   */
  readonly scan: (bytes: Uint8Array, start: number, end: number) => number
  /**
   * One slot for each requested field: the value of an int, long, float or double (date, time and timestamp in
   * the schema's unit; a long as the nearest double), 0 or 1 of a boolean, the index of an enum, a decimal as
   * the nearest double. NaN where it is null, of another type, or not in the schema.
   */
  readonly numbers: Float64Array
  /**
   * Two slots for each requested field: start and end in `bytes` of a string's or bytes' content, and of a float
   * or double, so that a NaN that was sent and null are told apart; -1 where there is none.
   */
  readonly ranges: Int32Array
  /** The generated source, for people. */
  readonly source: string
}

/** A scanner of `writer`'s data for the named top-level fields; a name that the writer does not have stays empty. */
export function createScanner(writer: AvroNode, fields: readonly string[]): Scanner {
  const numbers = new Float64Array(fields.length).fill(Number.NaN)
  const ranges = new Int32Array(2 * fields.length).fill(-1)
  const source = scannerSource(writer, fields)
  const scope = { ...EMITTED_SCOPE, decimalNumber, numberBytes, numbers, ranges, singles, doubles }
  return { scan: compileSource<Scanner['scan']>(`${source}return scan\n`, scope), numbers, ranges, source }
}

const numberBytes = new Uint8Array(8)
const doubles = new Float64Array(numberBytes.buffer)
const singles = new Float32Array(numberBytes.buffer)

/** A decimal (two's complement, big-endian) as the nearest double. */
export function decimalNumber(bytes: Uint8Array, start: number, end: number, scale: number): number {
  // Sign-extended head, then eight bits at a time: exact to 2^53, rounded beyond.
  let value = bytes[start]! >= 0x80 ? bytes[start]! - 256 : bytes[start]!
  for (let at = start + 1; at < end; at++) value = value * 256 + bytes[at]!
  return scale === 0 ? value : value / 10 ** scale
}

function scannerSource(writer: AvroNode, fields: readonly string[]): string {
  const emitter = new CheckEmitter()
  const { out } = emitter
  out.block('function scan(bytes, start, end)', () => {
    out.line('const at = walk(bytes, start, end, 0)')
    out.line(`return at === end ? 0 : at < 0 ? -at : ${TRAILING}`)
  })
  out.block('function walk(bytes, at, end, depth)', () => {
    if (writer.kind !== 'record') emitter.check(writer, '')
    else
      for (const field of writer.fields) {
        const slots = fields.flatMap((name, slot) => (name === field.name ? [slot] : []))
        const label = identifier(field.name)
        if (slots.length === 0) emitter.check(field.node, label)
        else emitField(emitter, field.node, label, slots)
      }
    out.line('return at')
  })
  emitter.functions()
  return out.toString()
}

function emitField(emitter: CheckEmitter, node: AvroNode, label: string, slots: readonly number[]): void {
  const { out } = emitter
  const nullable = nullableOf(node)
  if (nullable === undefined) {
    emitValue(emitter, node, label, slots)
    return
  }
  out.line(`// ${label}: union`)
  const index = emitter.index(2, UNION_INDEX)
  out.block(`if (${index} === ${nullable.valueIndex})`, () =>
    emitValue(emitter, nullable.value, label, slots),
  )
  out.block('else', () => {
    for (const slot of slots) {
      out.line(`numbers[${slot}] = NaN`)
      if (isRange(nullable.value)) out.line(`ranges[${2 * slot}] = ranges[${2 * slot + 1}] = -1`)
    }
  })
}

const isRange = ({ kind }: AvroNode): boolean =>
  kind === 'string' || kind === 'bytes' || kind === 'float' || kind === 'double'

function emitValue(emitter: CheckEmitter, node: AvroNode, label: string, slots: readonly number[]): void {
  const { out } = emitter
  const number = (expression: string) => {
    const value = out.unique('value')
    out.line(`const ${value} = ${expression}`)
    for (const slot of slots) out.line(`numbers[${slot}] = ${value}`)
  }
  const from = out.unique('from')
  switch (node.kind) {
    case 'boolean':
      emitter.check(node, label)
      number('bytes[at - 1]')
      return
    case 'int':
    case 'long':
      out.line(`const ${from} = at`)
      emitter.check(node, label)
      number(`${node.kind === 'int' ? 'intAt' : 'longAt'}(bytes, ${from})`)
      return
    case 'float':
    case 'double': {
      const size = node.kind === 'float' ? 4 : 8
      emitter.check(node, label)
      // Through eight single bytes: fields lie at any address, and a view for each buffer would cost more.
      for (let i = 0; i < size; i++) out.line(`numberBytes[${i}] = bytes[at - ${size - i}]`)
      number(node.kind === 'float' ? 'singles[0]' : 'doubles[0]')
      for (const slot of slots) {
        out.line(`ranges[${2 * slot}] = at - ${size}`)
        out.line(`ranges[${2 * slot + 1}] = at`)
      }
      return
    }
    case 'enum':
      out.line(`// ${label}: enum`)
      number(emitter.index(node.symbols.length, ENUM_INDEX))
      return
    case 'string':
    case 'bytes': {
      out.line(`// ${label}: ${node.kind}`)
      const length = emitter.length()
      const stop = out.unique('stop')
      out.line(`const ${from} = at`)
      out.line(`const ${stop} = at + ${length}`)
      if (node.kind === 'string')
        emitter.call(node.logical === 'uuid' ? `uuidEnd(bytes, at, ${stop})` : `utf8End(bytes, at, ${stop})`)
      else if (node.decimal !== undefined) {
        emitter.call(`decimalEnd(bytes, at, ${stop}, ${node.decimal.precision})`)
        number(`decimalNumber(bytes, ${from}, at, ${node.decimal.scale})`)
      } else out.line(`at = ${stop}`)
      for (const slot of slots) {
        out.line(`ranges[${2 * slot}] = ${from}`)
        out.line(`ranges[${2 * slot + 1}] = at`)
      }
      return
    }
    case 'fixed':
      out.line(`const ${from} = at`)
      emitter.check(node, label)
      if (node.decimal !== undefined) number(`decimalNumber(bytes, ${from}, at, ${node.decimal.scale})`)
      return
    default:
      emitter.check(node, label)
  }
}

/** A scanner for one field: its number, NaN where null. For strings use `createScanner` and its ranges. */
export function createFieldReader(
  writer: AvroNode,
  field: string,
): (bytes: Uint8Array, start: number, end: number) => number {
  const { scan, numbers } = createScanner(writer, [field])
  return (bytes, start, end) => (scan(bytes, start, end) === 0 ? numbers[0]! : Number.NaN)
}
