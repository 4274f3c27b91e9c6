// Scanners generated from a schema: one pass over a datum that checks it whole and notes where some of its
// top-level fields are and what numbers they hold. That is all that duplicates, lateness and ranges need of a
// record, and no object is made for it.
import { compileSource, identifier } from '../std/codegen.ts'
import { ENUM_INDEX, TRAILING, UNION_INDEX } from './avro-codes.ts'
import { CheckEmitter, EMITTED_SCOPE } from './avro-emit.ts'
import { type AvroNode, nullableOf } from './avro-node.ts'
import { readLong } from './avro-runtime.ts'

export interface Scanner {
  /**
   * 0 when exactly bytes[start, end) is a valid datum, 1 when it is and one of the bounded fields is not within its
   * bounds, else a code of avro-codes.ts negated. After 0 and 1 `numbers` and `ranges` describe the datum until the
   * next call. `view`: of the same memory as `bytes`. Never throws for any bytes.
   */
  readonly scan: (bytes: Uint8Array, view: DataView, start: number, end: number) => number
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

/** Numbers that a top-level field may hold, inclusive. NaN lies outside, null and fields that hold no number inside. */
export interface FieldBounds {
  field: string
  min: number
  max: number
}

/** A scanner of `writer`'s data for the named top-level fields; a name that the writer does not have stays empty. */
export function createScanner(
  writer: AvroNode,
  fields: readonly string[],
  bounds: readonly FieldBounds[] = [],
): Scanner {
  const numbers = new Float64Array(fields.length).fill(Number.NaN)
  const ranges = new Int32Array(2 * fields.length).fill(-1)
  const source = new ScannerGenerator(fields, bounds).generate(writer)
  const scope = { ...EMITTED_SCOPE, decimalNumber, numbers, ranges, readLong }
  return { scan: compileSource<Scanner['scan']>(`${source}return scan\n`, scope), numbers, ranges, source }
}

/** A decimal (two's complement, big-endian) as the nearest double. */
export function decimalNumber(bytes: Uint8Array, start: number, end: number, scale: number): number {
  // Sign-extended head, then eight bits at a time: exact to 2^53, rounded beyond.
  let value = bytes[start]! >= 0x80 ? bytes[start]! - 256 : bytes[start]!
  for (let at = start + 1; at < end; at++) value = value * 256 + bytes[at]!
  return scale === 0 ? value : value / 10 ** scale
}

/** In scope of what is emitted, beside the checks' (avro-emit.ts): `view`, and `outside`, the result of a valid datum. */
class ScannerGenerator {
  readonly #emitter = new CheckEmitter()
  readonly #out = this.#emitter.out
  readonly #fields: readonly string[]
  readonly #bounds: readonly FieldBounds[]

  constructor(fields: readonly string[], bounds: readonly FieldBounds[]) {
    this.#fields = fields
    this.#bounds = bounds
  }

  generate(writer: AvroNode): string {
    const out = this.#out
    out.block('function scan(bytes, view, at, end)', () => {
      out.line('const depth = 0')
      out.line('let outside = 0')
      if (writer.kind !== 'record') this.#emitter.check(writer, '')
      else for (const field of writer.fields) this.#field(field.name, field.node)
      out.line(`return at === end ? outside : -${TRAILING}`)
    })
    this.#emitter.functions()
    return out.toString()
  }

  #field(name: string, node: AvroNode): void {
    const out = this.#out
    const label = identifier(name)
    const slots = this.#fields.flatMap((one, slot) => (one === name ? [slot] : []))
    const bounds = this.#bounds.filter(({ field }) => field === name)
    if (slots.length + bounds.length === 0) {
      this.#emitter.check(node, label)
      return
    }
    const nullable = nullableOf(node)
    if (nullable === undefined) {
      this.#value(node, label, slots, bounds)
      return
    }
    out.line(`// ${label}: union`)
    const index = this.#emitter.index(2, UNION_INDEX)
    out.block(`if (${index} === ${nullable.valueIndex})`, () =>
      this.#value(nullable.value, label, slots, bounds),
    )
    if (slots.length === 0) return
    out.block('else', () => {
      for (const slot of slots) {
        out.line(`numbers[${slot}] = NaN`)
        if (isRange(nullable.value)) out.line(`ranges[${2 * slot}] = ranges[${2 * slot + 1}] = -1`)
      }
    })
  }

  #value(node: AvroNode, label: string, slots: readonly number[], bounds: readonly FieldBounds[]): void {
    const out = this.#out
    const emitter = this.#emitter
    const number = (expression: string) => {
      const value = out.unique('value')
      out.line(`const ${value} = ${expression}`)
      for (const slot of slots) out.line(`numbers[${slot}] = ${value}`)
      // The negation, so that NaN is outside.
      for (const { min, max } of bounds)
        out.line(`if (!(${value} >= ${Number(min)} && ${value} <= ${Number(max)})) outside = 1`)
    }
    const range = (start: string) => {
      for (const slot of slots) {
        out.line(`ranges[${2 * slot}] = ${start}`)
        out.line(`ranges[${2 * slot + 1}] = at`)
      }
    }
    const from = out.unique('from')
    switch (node.kind) {
      case 'boolean':
        emitter.check(node, label)
        number('bytes[at - 1]')
        return
      case 'int':
      case 'long':
        // One pass that checks and reads; times of a day have a check of their own.
        if (node.kind === 'long' && node.logical !== 'time-micros' && slots.length > 0) {
          out.line(`// ${label}: ${node.logical ?? 'long'}`)
          emitter.call(`readLong(bytes, view, at, end, numbers, ${slots[0]})`)
          if (slots.length + bounds.length > 1) number(`numbers[${slots[0]}]`)
          return
        }
        out.line(`const ${from} = at`)
        emitter.check(node, label)
        number(`${node.kind === 'int' ? 'intAt' : 'longAt'}(bytes, ${from})`)
        return
      case 'float':
      case 'double': {
        const size = node.kind === 'float' ? 4 : 8
        emitter.check(node, label)
        number(`view.getFloat${8 * size}(at - ${size}, true)`)
        range(`at - ${size}`)
        return
      }
      case 'enum':
        out.line(`// ${label}: enum`)
        number(emitter.index(node.symbols.length, ENUM_INDEX))
        return
      case 'string':
      case 'bytes': {
        if (node.kind === 'string') emitter.string(label, node.logical === 'uuid', from)
        else {
          out.line(`// ${label}: bytes`)
          const length = emitter.length()
          out.line(`const ${from} = at`)
          if (node.decimal === undefined) out.line(`at += ${length}`)
          else {
            emitter.call(`decimalEnd(bytes, at, at + ${length}, ${node.decimal.precision})`)
            number(`decimalNumber(bytes, ${from}, at, ${node.decimal.scale})`)
          }
        }
        range(from)
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
}

const isRange = ({ kind }: AvroNode): boolean =>
  kind === 'string' || kind === 'bytes' || kind === 'float' || kind === 'double'
