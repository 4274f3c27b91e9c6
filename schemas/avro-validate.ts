// Validators generated from a schema: whether bytes are exactly one datum of it, decided where they lie, with
// every read inside the given range, no allocation and no exception for any bytes at all. This runs once for
// every message that comes in.
//
// `validate` returns a number (avro-codes.ts); only a refused payload goes the cold way of `explain`, which
// walks the same bytes with the interpreter to say which field broke and where.
import { compileSource } from '../std/codegen.ts'
import { TRAILING } from './avro-codes.ts'
import { CheckEmitter, EMITTED_SCOPE } from './avro-emit.ts'
import { type DatumFailure, interpret } from './avro-interpreter.ts'
import type { AvroNode } from './avro-node.ts'

export interface Validator {
  /**
   * 0 when exactly bytes[start, end) is one valid datum, else a code of avro-codes.ts. Needs
   * 0 <= start <= end <= bytes.length < 2^31; never throws.
   */
  readonly validate: (bytes: Uint8Array, start: number, end: number) => number
  /** Code, field path and offset of what is wrong; undefined where `validate` gives 0. Cold. */
  readonly explain: (bytes: Uint8Array, start: number, end: number) => DatumFailure | undefined
  /** The generated source, for people. */
  readonly source: string
}

/**
 * What was compiled, by its source, in which neither subject nor name of the schema stands: streams and tenants of equal
 * fields share one function. It is optimised once, and the processor predicts the call.
 */
const compiled = new Map<string, Validator['validate']>()

export function createValidator(node: AvroNode): Validator {
  const source = validatorSource(node)
  let validate = compiled.get(source)
  if (validate === undefined) {
    validate = compileSource<Validator['validate']>(`${source}return validate\n`, EMITTED_SCOPE)
    compiled.set(source, validate)
  }
  return {
    validate,
    explain: (bytes, start, end) => interpret(node, bytes, start, end),
    source,
  }
}

/** Source of the function `validate(bytes, start, end)` for `node`. */
export function validatorSource(node: AvroNode): string {
  const emitter = new CheckEmitter()
  const { out } = emitter
  out.block('function walk(bytes, at, end, depth)', () => {
    emitter.check(node, '')
    out.line('return at')
  })
  emitter.functions()
  out.block('function validate(bytes, start, end)', () => {
    out.line('const at = walk(bytes, start, end, 0)')
    out.line(`return at === end ? 0 : at < 0 ? -at : ${TRAILING}`)
  })
  return out.toString()
}
