// The CRC-64-AVRO fingerprint of a schema's Parsing Canonical Form (Avro specification, "Parsing Canonical Form
// for Schemas" and "Schema Fingerprints"): how single-object encoding names the writer's schema.

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

const PRIMITIVES = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string']

/** The canonical form of Avro JSON that is known to be a valid schema. */
export function canonicalForm(schema: string): string {
  return canonical(JSON.parse(schema) as Json, '')
}

function canonical(schema: Json, namespace: string): string {
  if (typeof schema === 'string') return JSON.stringify(fullName(schema, namespace))
  if (Array.isArray(schema)) return `[${schema.map((branch) => canonical(branch, namespace)).join(',')}]`
  const { type, name, fields, symbols, items, values, size } = schema as Record<string, Json>
  // A type wrapped in an object for the sake of its attributes, which the canonical form drops.
  if (typeof type !== 'string') return canonical(type!, namespace)
  if (PRIMITIVES.includes(type)) return JSON.stringify(type)
  if (type === 'array') return `{"type":"array","items":${canonical(items!, namespace)}}`
  if (type === 'map') return `{"type":"map","values":${canonical(values!, namespace)}}`
  if (name === undefined) return canonical(type, namespace)
  const own = (schema as Record<string, Json>)['namespace']
  const full = fullName(name as string, typeof own === 'string' ? own : namespace)
  const inner = full.includes('.') ? full.slice(0, full.lastIndexOf('.')) : ''
  const head = `{"name":${JSON.stringify(full)},"type":${JSON.stringify(type)}`
  if (type === 'enum') return `${head},"symbols":${JSON.stringify(symbols)}}`
  if (type === 'fixed') return `${head},"size":${Number(size)}}`
  const parts = (fields as { name: string; type: Json }[]).map(
    (field) => `{"name":${JSON.stringify(field.name)},"type":${canonical(field.type, inner)}}`,
  )
  return `${head},"fields":[${parts.join(',')}]}`
}

function fullName(name: string, namespace: string): string {
  return PRIMITIVES.includes(name) || name.includes('.') || namespace === '' ? name : `${namespace}.${name}`
}

const EMPTY = 0xc15d213aa4d7a795n
const TABLE = BigUint64Array.from({ length: 256 }, (_, i) => {
  let value = BigInt(i)
  for (let bit = 0; bit < 8; bit++) value = (value >> 1n) ^ (EMPTY & -(value & 1n))
  return BigInt.asUintN(64, value)
})

/** The fingerprint as the 8 bytes of single-object encoding, little-endian. */
export function fingerprint(schema: string): Uint8Array {
  let value = EMPTY
  for (const byte of new TextEncoder().encode(canonicalForm(schema)))
    value = (value >> 8n) ^ TABLE[Number((value ^ BigInt(byte)) & 0xffn)]!
  const out = new Uint8Array(8)
  new DataView(out.buffer).setBigUint64(0, value, true)
  return out
}
